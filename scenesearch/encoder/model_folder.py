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
    """Read `preprocessor_config.json`, or `processor_config.json` as transformers 5 writes it."""
    path = folder / "preprocessor_config.json"
    if path.is_file():
        declared = read_json(path)
    else:
        path = folder / "processor_config.json"
        declared = read_json(path).get("image_processor", {})
    kind = str(declared.get("image_processor_type") or declared.get("feature_extractor_type", ""))
    resample = declared.get("resample", 3 if kind.startswith(("CLIP", "Siglip")) else 2)
    if resample not in _INTERPOLATIONS:
        raise ModelError(f"{path}: resample {resample} is none of lanczos, bilinear, bicubic")
    factor = declared.get("rescale_factor", 1 / 255)
    if not declared.get("do_rescale", True) or not math.isclose(factor, 1 / 255, rel_tol=1e-3):
        raise ModelError(f"{path}: pixels have to be rescaled by 1/255")
    image_size, resize = _size(declared, path)
    normalised = declared.get("do_normalize", True)
    mean = declared.get("image_mean", [0.5] * 3) if normalised else [0.0] * 3
    std = declared.get("image_std", [0.5] * 3) if normalised else [1.0] * 3
    return ImageInput(
        size=image_size,
        resize=resize,
        interpolation=_INTERPOLATIONS[resample],
        mean=_channels(mean, path),
        std=_channels(std, path),
    )


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


def _size(declared: dict[str, Any], path: Path) -> tuple[tuple[int, int], Resize]:
    if "max_num_patches" in declared:  # SigLIP 2 takes any grid of patches; we use a square
        side = math.isqrt(declared["max_num_patches"]) * declared["patch_size"]
        return (side, side), "squash"
    # Older files have one number for the shortest edge, and one for both sides of the crop.
    size = _sides(declared.get("size"), ("shortest_edge",))
    crop = None
    if declared.get("do_center_crop"):
        crop = _sides(declared.get("crop_size"), ("height", "width"))
    shortest = size.get("shortest_edge")
    if crop is None and "height" in size:
        return (size["height"], size["width"]), "squash"
    if crop is not None and crop.keys() >= {"height", "width"} and shortest is not None:
        target = (crop["height"], crop["width"])
        if min(target) == shortest == max(target):
            return target, "shortest_edge_crop"
    raise ModelError(
        f"{path}: resizing to {size} and cropping to {crop} is neither a squash to one size "
        "nor the middle square of the shortest edge"
    )


def _sides(declared: Any, one_number: tuple[str, ...]) -> dict[str, int]:
    if isinstance(declared, int):
        return dict.fromkeys(one_number, declared)
    return {key: value for key, value in (declared or {}).items() if value is not None}


def _channels(values: Any, path: Path) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ModelError(f"{path}: image_mean and image_std have to name three channels")
    red, green, blue = (float(value) for value in values)
    return red, green, blue
