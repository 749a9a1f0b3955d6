"""Writes encoder folders of ready ONNX graphs, without torch, and verifies them.

    layout = find_layouts(names)["fp32"]
    write_ready_encoder(Source(layout, folder, folder), encoder_folder, "clip")

A repository is a stranger: its names and configurations are checked, and its graphs only run.
"""

import hashlib
import json
import mmap
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from scenesearch.encoder.base import EncoderError, ImageInput, TextInput
from scenesearch.encoder.graphs import Graph, open_graph
from scenesearch.encoder.languages import FLORES, flores_code
from scenesearch.encoder.layouts import Layout
from scenesearch.encoder.model_folder import (
    ModelError,
    clean_as_trained,
    read_image_input,
    read_json,
    read_open_clip_image_input,
)
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.preprocessing import noise_pixels
from scenesearch.errors import first_line

# The least cosine of an embedding computed alone and in a batch. int8 graphs scale the numbers of
# a whole batch together.
PARITY, PARITY_INT8 = 0.9999, 0.98
# What graphs call their embeddings, best first.
_OUTPUTS = ("{}_embeds", "{}_embeddings", "l2norm_{}_embeddings", "embedding", "embeddings")
_POOLED = "pooler_output"  # SigLIP's embedding; CLIP's is not projected yet
_TEXT_INPUTS = ("input_ids", "text")
_BESIDE_TEXTS = {"attention_mask", "token_type_ids"}
_TRAINED_TOKENS = {"siglip": 64, "siglip2": 64, "chinese_clip": 52}  # of a text
_USUAL_TOKENS = {"jina_clip": 8192}  # of a text, where nothing says it
_CLIP_TOKENS = 77
_MOST_TOKENS = 8192
_PADDED_TO = 128  # tokens, to see whether padding matters
_PROBES = ("a dog", "two children playing on a beach at sunset with a red kite", "boats")
_FLORES_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LOCATION = re.compile(rb"\n\x08location\x12(.)", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """The files of a layout on this machine, and what the user wants of them."""

    layout: Layout
    image_folder: Path
    text_folder: Path  # the same one, except for a pair
    language: str | None = None  # of the texts, for encoders that have to be told
    dimensions: int | None = None  # to keep of the embeddings
    parent: dict[str, str] = field(default_factory=dict)


def write_ready_encoder(source: Source, folder: Path, name: str, *, move: bool = False) -> None:
    """An encoder folder of the source's graphs, which are moved there with `move`.

    The graphs are verified, see `verify`; raises EncoderError when they cannot be served.
    """
    layout = source.layout
    config = read_json(source.text_folder / "config.json")
    # FastEmbed's repositories are of one tower: clip_text_model.
    family = re.sub(r"(_text)?_model$", "", str(config.get("model_type", "")))
    tokenizer = _read_tokenizer(source)
    clean_as_trained(tokenizer, family)
    tokenizer, prefix = _speaking(tokenizer, source.language)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    put: Callable[[Path, Path], object] = shutil.move if move else shutil.copyfile
    place = "joint" if layout.is_joint else "image"
    image_files = _put_graph(source.image_folder / layout.image_graph, folder, place, put)
    text_files = image_files
    if not layout.is_joint:
        text_files = _put_graph(source.text_folder / layout.text_graph, folder, "text", put)
    image_graph = _open(folder / image_files[0], layout)
    text_graph = image_graph if layout.is_joint else _open(folder / text_files[0], layout)

    text = _read_text_input(source, text_graph, config, family, tokenizer).model_copy(
        update=_files_declared(text_files, "text")
        | {"prefix": prefix or _instruction(config), "output": _output(text_graph, "text", family)}
    )
    image = _read_image_input(source, image_graph).model_copy(
        update=_files_declared(image_files, "image")
        | {"output": _output(image_graph, "image", family)}
    )
    dimension = _dimension(image_graph, image, text)
    manifest: dict[str, Any] = {
        "format": 1,
        "name": name,
        **_dimensions(dimension, source.dimensions, config),
        "image": image.to_json(),
        "text": text.to_json(),
        "files": {
            part: _signature(folder / part)
            for part in dict.fromkeys((*image_files, *text_files, "tokenizer.json"))
        },
        "precision": layout.precision,
        "layout": layout.name,
        **({"language": source.language} if source.language else {}),
        "parent": source.parent,
    }
    least = PARITY_INT8 if layout.precision == "int8" else PARITY
    if text.padding == "longest":
        padding = _padding(folder, manifest, text, least)
        manifest["text"] = text.model_copy(update={"padding": padding}).to_json()
    _write(folder, manifest)
    cased = not (family.startswith("siglip") or text.canonicalize or text.lowercase)
    manifest["verified"] = verify(folder, least=least, cased=cased)
    _write(folder, manifest)


def verify(folder: Path, *, least: float = PARITY, cased: bool = True) -> dict[str, float]:
    """The least cosine of embeddings computed alone and in a batch; raises EncoderError.

    Texts of unequal length stand in one batch, because padding is where graphs go wrong. An
    encoder that is not `cased` has to give a text with capitals the same embedding.
    """
    encoder = OnnxEncoder(folder)
    pixels = noise_pixels(encoder.info.image, 3)
    compared = {
        "image": (encoder.encode_pixels(pixels), [encoder.encode_pixels(p[None]) for p in pixels]),
        "text": (encoder.encode_texts(_PROBES), [encoder.encode_texts([t]) for t in _PROBES]),
    }
    figures = {}
    for side, (together, alone) in compared.items():
        figures[side] = _least_cosine(together, np.concatenate(alone))
        if not figures[side] >= least:
            raise ModelError(
                f"{encoder.info.name} is not taken: its {side} embeddings change with their "
                f"neighbours in a batch (cosine {figures[side]:.4f}, {least} is needed)"
            )
    if not cased:
        capitals = [probe.title() for probe in _PROBES]
        figures["capitals"] = _least_cosine(
            encoder.encode_texts(_PROBES), encoder.encode_texts(capitals)
        )
        if not figures["capitals"] >= least:
            raise ModelError(
                f"{encoder.info.name} is not taken: it was trained without capitals, and 'A Dog' "
                f"is another text to it than 'a dog' (cosine {figures['capitals']:.4f})"
            )
    return {side: round(figure, 6) for side, figure in figures.items()}


def names_in(folder: Path) -> frozenset[str]:
    """The files of a model folder and of the folders in it, as a repository would name them."""
    paths = (path for pattern in ("*", "*/*", "*/*/*") for path in folder.glob(pattern))
    return frozenset(path.relative_to(folder).as_posix() for path in paths if path.is_file())


def external_files(graph: Path) -> tuple[str, ...]:
    """The names of the files beside a graph that hold its weights; raises ModelError.

    A graph says it in a field of its protobuf, of which the bytes are always these.
    """
    try:
        with (
            graph.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            found = [
                content[match.end() : match.end() + match[1][0]]
                for match in _LOCATION.finditer(content)
            ]
    except ValueError:
        raise ModelError(f"{graph} is empty") from None
    names = dict.fromkeys(location.decode("utf-8", "replace") for location in found)
    for name in names:
        if not _FILE_NAME.fullmatch(name):
            raise ModelError(f"{graph.name} keeps weights in a file {name!r}: it is not taken")
    return tuple(names)


# --- the graphs ------------------------------------------------------------------------------


def _put_graph(
    graph: Path, folder: Path, place: str, put: Callable[[Path, Path], object]
) -> tuple[str, ...]:
    """The names of the graph and the weights beside it in the encoder folder."""
    weights = external_files(graph)
    for name in weights:
        if not (graph.parent / name).is_file():
            raise ModelError(f"{graph.name} keeps weights in {name}, which is missing beside it")
    if not weights and place != "joint":
        put(graph, folder / f"{place}.onnx")
        return (f"{place}.onnx",)
    (folder / place).mkdir()
    for name in (graph.name, *weights):
        put(graph.parent / name, folder / place / name)
    return tuple(f"{place}/{name}" for name in (graph.name, *weights))


def _files_declared(files: tuple[str, ...], side: str) -> dict[str, Any]:
    if files == (f"{side}.onnx",):
        return {}
    return {"graph": files[0], "external": tuple(Path(name).name for name in files[1:])}


def _open(path: Path, layout: Layout) -> Graph:
    try:
        return open_graph(path, threads=1)
    except EncoderError as error:
        if "NOT_IMPLEMENTED" not in str(error):
            raise
        raise ModelError(
            f"this ONNX Runtime has no kernel for the {layout.precision} graph {path.name}: take "
            f"another --precision ({first_line(error).partition('NOT_IMPLEMENTED : ')[2]})"
        ) from None


def _output(graph: Graph, side: Literal["image", "text"], family: str) -> str:
    names = [name.format(side) for name in _OUTPUTS]
    if family.startswith("siglip"):
        names.append(_POOLED)
    for name in names:
        if name in graph.outputs:
            return name
    raise ModelError(
        f"the graph for {side}s gives {', '.join(sorted(graph.outputs))}: {names[0]} is needed"
    )


def _dimension(graph: Graph, image: ImageInput, text: TextInput) -> int:
    """How many numbers the graph gives for a picture."""
    rows = graph.batch or 1
    feed: dict[str, NDArray[Any]] = {image.input: noise_pixels(image, rows)}
    for name in graph.inputs.keys() - feed.keys():  # a graph of both towers: any text
        feed[name] = np.full((rows, 1), name != "token_type_ids", np.int64)
    shape = graph.run(image.output, feed).shape
    if len(shape) != 2:
        raise ModelError(f"{image.output} of the graph has the shape {shape}: one row is needed")
    return int(shape[1])


def _dimensions(full: int, kept: int | None, config: dict[str, Any]) -> dict[str, int]:
    if kept is None or kept == full:
        return {"dimension": full}
    trained = config.get("matryoshka_dimensions")
    if not 1 <= kept < full:
        raise ModelError(f"--dimensions {kept}: the encoder has {full}")
    if isinstance(trained, list) and kept not in trained:
        raise ModelError(
            f"--dimensions {kept}: the encoder was trained for {', '.join(map(str, trained))}"
        )
    return {"dimension": kept, "full_dimension": full}


# --- what their inputs are -------------------------------------------------------------------


def _read_image_input(source: Source, graph: Graph) -> ImageInput:
    layout, folder = source.layout, source.image_folder
    if layout.kind == "immich":
        path = folder / "visual" / "preprocess_cfg.json"
        declared = read_open_clip_image_input(read_json(path), path)
    else:
        path = folder / "preprocessor_config.json"
        content = read_json(path) if path.is_file() else {}
        if "resize_mode" in content:  # jina-clip's
            declared = read_open_clip_image_input(content, path)
        else:
            declared = read_image_input(folder)
    names = [name for name, taken in graph.inputs.items() if len(taken.shape) == 4]
    others = graph.inputs.keys() - set(names)
    if len(names) != 1 or (others and not layout.is_joint):
        raise ModelError(f"the graph for images takes {', '.join(sorted(graph.inputs))}: not known")
    taken = graph.inputs[names[0]]
    as_bytes = taken.type == np.uint8
    sides = taken.shape[1:3] if as_bytes else taken.shape[2:]
    if any(side not in (None, wanted) for side, wanted in zip(sides, declared.size, strict=True)):
        raise ModelError(
            f"the graph for images takes {sides[0]} x {sides[1]} pixels, {path.name} says "
            f"{declared.size[0]} x {declared.size[1]}"
        )
    changes = {"input": names[0], "pixels": "uint8_nhwc" if as_bytes else "float32_nchw"}
    return declared.model_copy(update=changes)


def _read_text_input(
    source: Source, graph: Graph, config: dict[str, Any], family: str, tokenizer: Tokenizer
) -> TextInput:
    immich = source.layout.kind == "immich"
    declared = config.get("text_cfg" if immich else "text_config")
    declared = declared if isinstance(declared, dict) else {} if immich else config
    name = next((name for name in _TEXT_INPUTS if name in graph.inputs), None)
    pictures = {name for name, taken in graph.inputs.items() if len(taken.shape) == 4}
    unknown = graph.inputs.keys() - {name} - _BESIDE_TEXTS - pictures
    if name is None or unknown or (pictures and not source.layout.is_joint):
        raise ModelError(f"the graph for texts takes {', '.join(sorted(graph.inputs))}: not known")
    shape = graph.inputs[name].shape
    fixed = shape[1] if len(shape) == 2 else None
    whole = fixed is not None or family.startswith("siglip")
    cleaned = immich and name == "text"  # by open_clip; M-CLIP takes texts as they are
    return TextInput(
        context_length=fixed or _context_length(source, declared, family),
        pad_token_id=_pad_token_id(source, declared, tokenizer),
        padding="context_length" if whole else "longest",
        fix=cleaned,
        canonicalize=cleaned and _canonicalizes(declared),
        input=name,
    )


def _canonicalizes(text_cfg: dict[str, Any]) -> bool:
    options = text_cfg.get("tokenizer_kwargs")
    return isinstance(options, dict) and options.get("clean") == "canonicalize"


def _context_length(source: Source, declared: dict[str, Any], family: str) -> int:
    length = declared.get("context_length", declared.get("max_position_embeddings"))
    if isinstance(length, int) and "roberta" in str(declared.get("model_type")):
        length -= 2  # its positions begin after that of the padding
    found = _TRAINED_TOKENS.get(family, length)
    if found is None:
        found = _USUAL_TOKENS.get(family, _CLIP_TOKENS)
    longest = _tokenizer_config(source).get("model_max_length")
    if isinstance(longest, int) and isinstance(found, int) and longest >= 2:
        found = min(found, longest)
    if not isinstance(found, int) or not 2 <= found <= _MOST_TOKENS:
        raise ModelError(f"{found!r} tokens are no length of a text")
    return found


def _pad_token_id(source: Source, declared: dict[str, Any], tokenizer: Tokenizer) -> int:
    token = _tokenizer_config(source).get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if found is None:
        found = declared.get("pad_token_id", 0)
    if not isinstance(found, int) or tokenizer.id_to_token(found) is None:
        raise ModelError(f"its tokenizer has no token {found!r} to pad with")
    return found


def _instruction(config: dict[str, Any]) -> str:
    """What jina-clip was trained to read before a request."""
    found: Any = config
    for key in ("text_config", "hf_model_config_kwargs", "task_instructions", "retrieval.query"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) and len(found) <= 1000 else ""


def _padding(
    folder: Path, manifest: dict[str, Any], text: TextInput, least: float
) -> Literal["longest", "context_length"]:
    """How texts have to be padded: to the longest of a batch, if more padding changes nothing."""
    tokens = min(text.context_length, _PADDED_TO)
    found = []
    for padding in ("context_length", "longest"):
        tried = text.model_copy(update={"context_length": tokens, "padding": padding})
        _write(folder, manifest | {"text": tried.to_json()})
        try:
            found.append(OnnxEncoder(folder).encode_texts(_PROBES[:1]))
        except EncoderError:
            if padding == "context_length":
                raise
    if len(found) == 2 and _least_cosine(*found) >= least:
        return "longest"
    if text.context_length > _PADDED_TO:
        raise ModelError(
            f"{manifest['name']} is not taken: padding changes its texts, and padding them all to "
            f"{text.context_length} tokens would take too long"
        )
    return "context_length"


# --- the tokenizer ---------------------------------------------------------------------------


def _tokenizer_config(source: Source) -> dict[str, Any]:
    path = source.text_folder / f"{source.layout.text_folder}tokenizer_config.json"
    return read_json(path) if path.is_file() else {}


def _read_tokenizer(source: Source) -> Tokenizer:
    path = source.text_folder / f"{source.layout.text_folder}tokenizer.json"
    if _tokenizer_config(source).get("padding_side") == "left":
        raise ModelError("its tokenizer pads texts on the left: that is not supported")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"its tokenizer.json is not usable: {first_line(error)}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _speaking(tokenizer: Tokenizer, language: str | None) -> tuple[Tokenizer, str]:
    """The tokenizer for texts in this language, and what has to be before each text.

    NLLB's texts begin with a token of their language, which its tokenizer adds; if it adds none,
    the text has to bring it.
    """
    asks = all(tokenizer.token_to_id(FLORES[code]) is not None for code in ("en", "fr", "zh"))
    if not asks:
        if language is not None:
            raise ModelError(f"--language {language}: this encoder takes texts without a language")
        return tokenizer, ""
    if language is None:
        raise ModelError(
            f"this encoder has to know the language of its texts: --language {', '.join(FLORES)}"
        )
    code = flores_code(language)
    number = tokenizer.token_to_id(code)
    if number is None:
        raise ModelError(f"--language {language}: its tokenizer has no token {code}")
    content = json.loads(tokenizer.to_str())
    template = json.dumps(content.get("post_processor"))
    added = set(_FLORES_CODE.findall(template))
    if not added:
        return tokenizer, code
    for other in added:
        template = template.replace(other, code)
    content["post_processor"] = json.loads(template, object_hook=_renumbering(code, number))
    return Tokenizer.from_str(json.dumps(content)), ""


def _renumbering(code: str, number: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def renumber(part: dict[str, Any]) -> dict[str, Any]:
        return part | {"ids": [number]} if part.get("id") == code and "ids" in part else part

    return renumber


# --- the folder ------------------------------------------------------------------------------


def _least_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Of the rows of unit length."""
    return float(1 - np.square(one - other).sum(axis=1).max() / 2)


def _signature(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size}


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (folder / "encoder.json").write_text(text, encoding="utf-8")
