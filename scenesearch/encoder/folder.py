"""Reads an encoder folder: `encoder.json`, two ONNX graphs and a tokenizer.

lite/
  encoder.json     name, dimension, preprocessing, calibration, hashes of the files, scores
  image.onnx       pixel_values (n, 3, h, w) float32 -> image_embeddings (n, dim)
  text.onnx        input_ids, attention_mask (n, tokens) int64 -> text_embeddings (n, dim)
  tokenizer.json   of the `tokenizers` library

Instead of an .onnx file there may be an .xml and a .bin: a graph for OpenVINO. Graphs made
elsewhere may have other names, inputs and outputs, which encoder.json then gives, may take no
mask, keep their weights in files beside them, and hold both towers in one file.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from scenesearch.encoder.base import (
    Declared,
    EncoderError,
    EncoderInfo,
    EncoderUnreadable,
    ImageInput,
    Scale,
    TextInput,
)
from scenesearch.errors import first_line, obstacle

SIDES: tuple[Literal["image", "text"], ...] = ("image", "text")
PARTS = ("image.onnx", "text.onnx", "tokenizer.json")  # as this project writes them

_MOST_BYTES = 32 * 2**20  # of encoder.json: the calibration of large vectors takes 1 MiB
_MOST_DEPTH = 16


class _File(Declared):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)


class _Manifest(Declared):
    format: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    dimension: int = Field(ge=1, le=65536)
    full_dimension: int | None = Field(None, ge=1, le=65536)  # of the graphs; None: the same
    image: ImageInput
    text: TextInput
    files: dict[str, _File]
    scale: Scale | None = None
    calibration: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)


def read_encoder_info(folder: Path) -> EncoderInfo:
    """What the folder's encoder.json declares; checks that all parts exist in the declared size.

    Raises EncoderError in one sentence when a part is missing, cut short or malformed. Only
    `verify_encoder` hashes the contents: a cold search must not read every weight twice.
    """
    manifest_path = folder / "encoder.json"
    if not folder.is_dir():
        raise EncoderError(f"encoder folder {folder} does not exist")
    try:
        if not manifest_path.is_file():  # a FIFO would wait for its writer
            raise FileNotFoundError
        if manifest_path.stat().st_size > _MOST_BYTES:
            raise EncoderError(f"{manifest_path} is larger than any encoder's")
        data = manifest_path.read_bytes()
        if not _is_sound(json.loads(data), _MOST_DEPTH):
            raise ValueError("a number that is not finite, or nested too deeply")
        manifest = _Manifest.model_validate_json(data)
    except FileNotFoundError:
        raise EncoderError(f"{folder} is not an encoder folder: it has no encoder.json") from None
    except OSError as error:
        raise unreadable(manifest_path, error) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise EncoderError(f"{manifest_path}: {where}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise EncoderError(f"{manifest_path} is no manifest: {first_line(error)}") from None
    # A graph of both towers is one part.
    graphs = dict.fromkeys(part for side in SIDES for part in _graph(manifest, side))
    parts = (*graphs, "tokenizer.json")
    for part in parts:
        path, declared = folder / part, manifest.files.get(part)
        if declared is None:
            raise EncoderError(f"{manifest_path} does not declare {part} under 'files'")
        try:
            size = path.stat().st_size if path.is_file() else None
        except OSError as error:
            raise unreadable(path, error) from None
        if size is None:
            raise EncoderError(f"encoder {manifest.name} is incomplete: {path} is missing")
        if size != declared.bytes:
            raise EncoderError(
                f"encoder {manifest.name} is damaged: {path} has {size} bytes, "
                f"encoder.json says {declared.bytes}"
            )
    return EncoderInfo(
        name=manifest.name,
        # Everything that affects a vector: not name, scores or calibration.
        fingerprint=_hash(
            manifest, {"format", "dimension", "full_dimension", "image", "text"}, parts
        ),
        dimension=manifest.dimension,
        full_dimension=manifest.full_dimension or manifest.dimension,
        image=manifest.image,
        text=manifest.text,
        # Everything that affects the vector of a picture.
        image_fingerprint=_hash(
            manifest, {"dimension", "full_dimension", "image"}, _graph(manifest, "image")
        ),
        folder=folder,
        parts=parts,
        scale=manifest.scale,
        calibration=manifest.calibration,
        scores=manifest.scores,
    )


def _is_sound(value: Any, depth: int) -> bool:
    """Whether every number is finite, and nothing is nested deeper than `depth`."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_sound(part, depth - 1) for part in parts)
    return not isinstance(value, float) or math.isfinite(value)


def verify_encoder(folder: Path) -> None:
    """Raise EncoderError unless every part has the declared SHA-256."""
    info = read_encoder_info(folder)
    declared = json.loads((folder / "encoder.json").read_bytes())["files"]
    for part in info.parts:
        try:
            with (folder / part).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(folder / part, error) from None
        if digest != declared[part]["sha256"]:
            raise EncoderError(
                f"encoder {info.name} is damaged: {folder / part} does not have its declared hash"
            )


def unreadable(path: Path, error: BaseException) -> EncoderUnreadable:
    """The error for a file that cannot be read for a reason that `obstacle` finds."""
    return EncoderUnreadable(f"{path} cannot be read: {obstacle(error) or first_line(error)}")


def _graph(manifest: _Manifest, side: Literal["image", "text"]) -> tuple[str, ...]:
    """The files of a tower, its graph first."""
    declared = manifest.image if side == "image" else manifest.text
    if declared.graph is not None:
        folder = declared.graph.rpartition("/")[0]
        beside = (f"{folder}/{name}" if folder else name for name in declared.external)
        return (declared.graph, *beside)
    openvino = (f"{side}.xml", f"{side}.bin")
    return openvino if openvino[0] in manifest.files else (f"{side}.onnx",)


# The keys that encoder.json has always had. Those that were added later do not count while they
# have their default: folders without them keep the fingerprint that is recorded in libraries.
_FIRST = {
    "image": {"size", "resize", "interpolation", "mean", "std"},
    "text": {"context_length", "prefix", "pad_token_id"},
}


def _hash(manifest: _Manifest, keys: set[str], parts: tuple[str, ...]) -> str:
    functional = manifest.model_dump(include=keys, mode="json")
    if functional["full_dimension"] is None:
        del functional["full_dimension"]
    for side in functional.keys() & _FIRST.keys():
        changed = getattr(manifest, side).model_dump(exclude_defaults=True)
        for key in functional[side].keys() - _FIRST[side] - changed.keys():
            del functional[side][key]
    functional["files"] = {part: manifest.files[part].sha256 for part in parts}
    return hashlib.sha256(json.dumps(functional, sort_keys=True).encode()).hexdigest()[:16]
