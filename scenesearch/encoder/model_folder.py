"""Reads the configuration files of a Hugging Face model folder."""

import json
import math
import re
import string
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tokenizers import Regex, Tokenizer, models, normalizers

from scenesearch.encoder.base import EncoderError, ImageInput, Interpolation, Resize

_INTERPOLATIONS: dict[int, Interpolation] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's
_OPEN_CLIP_RESIZE: dict[str, Resize] = {
    "shortest": "shortest_edge_crop",
    "longest": "longest",
    "squash": "squash",
}
_CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
_MOST_BYTES = 32 * 2**20  # of a configuration; tokenizers of large vocabularies take 1 MiB


class ModelError(EncoderError):
    """A model's folder or repository cannot be used; the message is one sentence for the user."""


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path} is larger than any configuration")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent} is no model folder: it has no {path.name}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object")
    return content


def read_image_input(folder: Path) -> ImageInput:
    """Read `processor_config.json` as transformers 5 writes it, else `preprocessor_config.json`.

    The pictures are those of the library's classes for Pillow; those for torchvision resize with
    another filter.
    """
    path = folder / "processor_config.json"
    declared = read_json(path).get("image_processor") if path.is_file() else None
    if declared is None:
        path = folder / "preprocessor_config.json"
        declared = read_json(path)
    if not isinstance(declared, dict):
        raise ModelError(f"{path}: image_processor has to be a JSON object")
    declared = _image_processor(declared, path) | declared
    if not declared["do_resize"] or declared.get("do_pad"):
        raise ModelError(f"{path}: pictures have to be resized (do_resize), without do_pad")
    try:
        return ImageInput.model_validate(
            {
                **_size(declared, path),
                "interpolation": _interpolation(declared["resample"], path),
                **_scaling(declared, path),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {where}: {first['msg']}") from None


# What a class of image processors does unless its file says otherwise.
_ANY: dict[str, Any] = {
    "do_resize": True,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 2,
    "size": {"height": 224, "width": 224},
    "square": True,  # one number as size is that of both sides, not of the shorter
}
_OF_CLIP: dict[str, Any] = {
    "image_mean": _CLIP_MEAN,
    "image_std": _CLIP_STD,
    "resample": 3,
    "size": {"shortest_edge": 224},
    "square": False,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
}
_PROCESSORS: dict[str, dict[str, Any]] = {
    "CLIP": _OF_CLIP,
    "ChineseCLIP": _OF_CLIP,
    "Siglip": {"resample": 3},
    "Siglip2": {"patch_size": 16, "max_num_patches": 256},
    "ViT": {},
    "Blip": {
        "image_mean": _CLIP_MEAN,
        "image_std": _CLIP_STD,
        "resample": 3,
        "size": {"height": 384, "width": 384},
    },
}
_CLASS = re.compile(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$")
# Older files name no class; then the model decides.
_OF_MODELS = {
    "clip": "CLIP",
    "metaclip_2": "CLIP",
    "altclip": "CLIP",
    "chinese_clip": "ChineseCLIP",
    "siglip": "Siglip",
    "siglip2": "Siglip2",
}


def _image_processor(declared: dict[str, Any], path: Path) -> dict[str, Any]:
    """What the class that the file names does by itself."""
    named = declared.get("image_processor_type") or declared.get("feature_extractor_type")
    if named:
        kind = _CLASS.sub("", str(named))
    else:
        config = path.parent / "config.json"
        model = read_json(config).get("model_type") if config.is_file() else None
        kind = _OF_MODELS.get(str(model), "ViT")
    if kind not in _PROCESSORS:
        raise ModelError(
            f"{path}: image processor {named} is not known, only {', '.join(_PROCESSORS)}"
        )
    return _ANY | _PROCESSORS[kind]


def _interpolation(resample: Any, path: Path) -> Interpolation:
    name = resample.rpartition(".")[2].lower() if isinstance(resample, str) else None
    found = [i for number, i in _INTERPOLATIONS.items() if name == i or resample == number]
    if not found:
        raise ModelError(f"{path}: resample {resample} is none of lanczos, bilinear, bicubic")
    return found[0]


def _scaling(declared: dict[str, Any], path: Path) -> dict[str, Any]:
    """Mean and deviation for pixels between 0 and 1, whatever the file rescales them by."""
    factor = declared["rescale_factor"] if declared["do_rescale"] else 1.0
    if not isinstance(factor, int | float) or not factor > 0:
        raise ModelError(f"{path}: rescale_factor {factor} is no positive number")
    unit = 255 * factor
    if math.isclose(unit, 1, rel_tol=1e-3):  # written with few digits
        unit = 1.0
    normalised = declared["do_normalize"]
    mean = declared["image_mean"] if normalised else [0.0] * 3
    std = declared["image_std"] if normalised else [1.0] * 3
    return {
        "mean": tuple(value / unit for value in _channels(mean, path)),
        "std": tuple(value / unit for value in _channels(std, path)),
    }


def read_open_clip_image_input(declared: dict[str, Any], path: Path) -> ImageInput:
    """The same from a `preprocess_cfg` of open_clip, which jina-clip writes too; `path` names it.

    What is not declared is as in OpenAI's CLIP.
    """
    size = declared.get("size", 224)
    interpolation = declared.get("interpolation", "bicubic")
    mode = declared.get("resize_mode", "shortest")
    if mode not in _OPEN_CLIP_RESIZE:
        raise ModelError(f"{path}: resize_mode {mode!r} is none of {', '.join(_OPEN_CLIP_RESIZE)}")
    fill = declared.get("fill_color", 0)
    try:
        return ImageInput.model_validate(
            {
                "size": tuple(size) if isinstance(size, list) else (size, size),
                "resize": _OPEN_CLIP_RESIZE[mode],
                "interpolation": interpolation,
                "mean": _channels(declared.get("mean", _CLIP_MEAN), path),
                "std": _channels(declared.get("std", _CLIP_STD), path),
                "crop_offset": "nearest",  # torchvision's
                "fill": tuple(fill) if isinstance(fill, list) else (fill, fill, fill),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {where}: {first['msg']}") from None


def clean_as_trained(tokenizer: Tokenizer, family: str) -> None:
    """Make the tokenizer clean texts as the model's family (`model_type`) did in training.

    SigLIP was trained without capitals and punctuation, SigLIP 2 without capitals. transformers
    does that in Python, or in a class of tokenizers that most repositories do not name: their
    tokenizer.json knows nothing of it. Here it becomes the first step of the tokenizer itself.
    """
    if not family.startswith("siglip"):
        return
    steps: list[Any] = [normalizers.Lowercase()]
    unwanted = "A"
    if isinstance(tokenizer.model, models.Unigram):  # SigLIP; SigLIP 2 has Gemma's tokenizer
        steps += [
            normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
        unwanted += string.punctuation
    own = tokenizer.normalizer
    if own is None:
        tokenizer.normalizer = normalizers.Sequence(steps)
    elif set(own.normalize_str(unwanted)) & set(unwanted):
        tokenizer.normalizer = normalizers.Sequence([*steps, own])


def _size(declared: dict[str, Any], path: Path) -> dict[str, Any]:
    if "max_num_patches" in declared:  # SigLIP 2 NaFlex
        patches, side = declared["max_num_patches"], declared.get("patch_size")
        if not (isinstance(patches, int) and 0 < patches <= 4096 and isinstance(side, int)):
            raise ModelError(f"{path}: {patches} patches of {side} pixels are no size of a picture")
        square = math.isqrt(patches) * side
        return {
            "size": (square, square),
            "resize": "patches",
            "patch_size": side,
            "max_patches": patches,
        }
    both = ("height", "width")
    size = _sides(declared["size"], both if declared["square"] else ("shortest_edge",))
    crop = _sides(declared.get("crop_size"), both) if declared["do_center_crop"] else None
    shortest = size.get("shortest_edge")
    if size.keys() == {*both} and crop in (None, size):
        return {"size": (size["height"], size["width"]), "resize": "squash"}
    if crop is not None and crop.keys() == {*both} and size.keys() == {"shortest_edge"}:
        target = (crop["height"], crop["width"])
        if min(target) == max(target) <= (shortest or 0):
            edge = None if shortest == max(target) else shortest
            return {"size": target, "resize": "shortest_edge_crop", "edge": edge}
    raise ModelError(
        f"{path}: resizing to {size} and cropping to {crop} is neither a squash to one size "
        "nor the middle square of the shortest edge"
    )


def _sides(declared: Any, one_number: tuple[str, ...]) -> dict[str, int]:
    """The sides by name; a list of two is height and width."""
    if isinstance(declared, int):
        return dict.fromkeys(one_number, declared)
    if isinstance(declared, list) and len(declared) == 2:
        return dict(zip(("height", "width"), declared, strict=True))
    found = declared if isinstance(declared, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, int)}


def _channels(values: Any, path: Path) -> tuple[float, float, float]:
    if isinstance(values, int | float):
        values = [values] * 3
    if (
        not isinstance(values, list)
        or len(values) != 3
        or not all(isinstance(value, int | float) for value in values)
    ):
        raise ModelError(f"{path}: image_mean and image_std have to name three channels")
    red, green, blue = (float(value) for value in values)
    return red, green, blue
