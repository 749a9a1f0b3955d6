"""Reads an encoder folder: `encoder.json`, two ONNX graphs and a tokenizer.

lite/
  encoder.json     name, dimension, preprocessing, calibration, hashes of the files, scores
  image.onnx       pixel_values (n, 3, h, w) float32 -> image_embeddings (n, dim)
  text.onnx        input_ids, attention_mask (n, tokens) int64 -> text_embeddings (n, dim)
  tokenizer.json   of the `tokenizers` library

Instead of an .onnx file there may be an .xml and a .bin: a graph for OpenVINO. Graphs made
elsewhere may have an output of another name, which encoder.json then gives, and may take no mask.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenesearch.encoder.base import (
    EncoderError,
    EncoderInfo,
    EncoderUnreadable,
    Interpolation,
    Padding,
    Resize,
)
from scenesearch.errors import first_line, obstacle

SIDES = ("image", "text")
PARTS = ("image.onnx", "text.onnx", "tokenizer.json")  # as this project writes them

# A batch of 8 of the largest pictures takes 400 MB.
_Side = Annotated[int, Field(ge=1, le=2048)]
# For pixels between 0 and 1, or from 0 to 255 if a graph takes those.
_Mean = Annotated[float, Field(ge=-1e4, le=1e4)]
_Deviation = Annotated[float, Field(ge=1e-4, le=1e4)]
_Name = Annotated[str, Field(min_length=1, max_length=256)]

_MOST_BYTES = 32 * 2**20  # of encoder.json: the calibration of large vectors takes 1 MiB
_MOST_DEPTH = 16


class _Declared(BaseModel):
    # A folder may come from a stranger: unknown keys are ignored, known keys must be valid.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Image(_Declared):
    size: tuple[_Side, _Side]
    resize: Resize
    interpolation: Interpolation = "bicubic"
    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Deviation, _Deviation, _Deviation]
    output: _Name = "image_embeddings"


class _Text(_Declared):
    context_length: int = Field(ge=2, le=8192)
    prefix: str = Field("", max_length=1000)
    pad_token_id: int = Field(0, ge=0, lt=2**31)  # a token of the tokenizer
    padding: Padding = "longest"
    output: _Name = "text_embeddings"


class _File(_Declared):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)


class _Manifest(_Declared):
    format: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    dimension: int = Field(ge=1, le=65536)
    image: _Image
    text: _Text
    files: dict[str, _File]
    calibration: dict[str, Any] = {}
    scores: dict[str, Any] = {}


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
    parts = (*(part for side in SIDES for part in _graph(manifest, side)), "tokenizer.json")
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
        fingerprint=_hash(manifest, {"format", "dimension", "image", "text"}, parts),
        dimension=manifest.dimension,
        image_size=manifest.image.size,
        resize=manifest.image.resize,
        interpolation=manifest.image.interpolation,
        mean=manifest.image.mean,
        std=manifest.image.std,
        context_length=manifest.text.context_length,
        text_prefix=manifest.text.prefix,
        pad_token_id=manifest.text.pad_token_id,
        padding=manifest.text.padding,
        image_output=manifest.image.output,
        text_output=manifest.text.output,
        # Everything that affects the vector of a picture.
        image_fingerprint=_hash(manifest, {"dimension", "image"}, _graph(manifest, "image")),
        folder=folder,
        parts=parts,
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


def _graph(manifest: _Manifest, side: str) -> tuple[str, ...]:
    openvino = (f"{side}.xml", f"{side}.bin")
    return openvino if openvino[0] in manifest.files else (f"{side}.onnx",)


# Keys that were added to encoder.json later, with their default. Folders without them must keep the
# fingerprint that is recorded in libraries.
_ADDED: dict[str, dict[str, str]] = {
    "image": {"output": "image_embeddings"},
    "text": {"output": "text_embeddings", "padding": "longest"},
}


def _hash(manifest: _Manifest, keys: set[str], parts: tuple[str, ...]) -> str:
    functional = manifest.model_dump(include=keys)
    for side in functional.keys() & _ADDED.keys():
        for key, value in _ADDED[side].items():
            if functional[side][key] == value:
                del functional[side][key]
    functional["files"] = {part: manifest.files[part].sha256 for part in parts}
    return hashlib.sha256(json.dumps(functional, sort_keys=True).encode()).hexdigest()[:16]
