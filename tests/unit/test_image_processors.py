"""What a preprocessor_config.json or processor_config.json says becomes an image input."""

import json
from pathlib import Path
from typing import Any

import pytest

from scenesearch.encoder.base import ImageInput
from scenesearch.encoder.model_folder import ModelError, read_image_input

_CLIP = {"image_processor_type": "CLIPImageProcessor"}
_SIGLIP = {"image_processor_type": "SiglipImageProcessor"}


def _read(folder: Path, declared: dict[str, Any]) -> ImageInput:
    (folder / "preprocessor_config.json").write_text(json.dumps(declared))
    return read_image_input(folder)


def test_a_picture_is_resized_larger_than_the_crop(tmp_path: Path) -> None:
    found = _read(tmp_path, {**_CLIP, "size": {"shortest_edge": 256}, "crop_size": 224})
    assert (found.size, found.resize, found.edge) == ((224, 224), "shortest_edge_crop", 256)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({**_CLIP, "size": 224, "crop_size": 224}, ((224, 224), "shortest_edge_crop")),
        ({"feature_extractor_type": "CLIPFeatureExtractor"}, ((224, 224), "shortest_edge_crop")),
        ({"image_processor_type": "BlipImageProcessor"}, ((384, 384), "squash")),
        ({"image_processor_type": "ViTImageProcessorFast", "size": 96}, ((96, 96), "squash")),
        ({**_SIGLIP, "size": {"height": 32, "width": 48}}, ((32, 48), "squash")),
        ({**_CLIP, "do_center_crop": False, "size": [64, 64]}, ((64, 64), "squash")),
        ({"image_processor_type": "Siglip2ImageProcessor"}, ((256, 256), "patches")),
    ],
)
def test_sizes_are_read_as_the_named_class_reads_them(
    tmp_path: Path, declared: dict[str, Any], expected: tuple[Any, str]
) -> None:
    found = _read(tmp_path, declared)
    assert (found.size, found.resize) == expected


def test_a_squash_before_a_crop_of_that_size_is_a_squash(tmp_path: Path) -> None:
    side = {"height": 378, "width": 378}
    assert _read(tmp_path, {**_CLIP, "size": side, "crop_size": side}).resize == "squash"


def test_a_file_without_a_class_is_read_as_its_model_needs(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "altclip"}')
    found = _read(tmp_path, {"size": 64, "crop_size": 64})
    assert (found.resize, found.interpolation) == ("shortest_edge_crop", "bicubic")


def test_the_nested_file_of_transformers_5_counts(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**_SIGLIP, "size": 16}))
    nested = {"processor_class": "SiglipProcessor", "image_processor": {**_SIGLIP, "size": 48}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert read_image_input(tmp_path).size == (48, 48)


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, 0.5, 0.25),
        ({"do_normalize": False}, 0.0, 1.0),
        ({"rescale_factor": 0.0039215}, 0.5, 0.25),
        ({"do_rescale": False}, 0.5 / 255, 0.25 / 255),
        ({"rescale_factor": 2 / 255}, 0.25, 0.125),
    ],
)
def test_pixels_are_scaled_as_declared(
    tmp_path: Path, changes: dict[str, Any], mean: float, std: float
) -> None:
    found = _read(tmp_path, {**_SIGLIP, "image_mean": 0.5, "image_std": [0.25] * 3, **changes})
    assert found.mean == pytest.approx((mean,) * 3)
    assert found.std == pytest.approx((std,) * 3)


@pytest.mark.parametrize(("resample", "name"), [(1, "lanczos"), ("bilinear", "bilinear")])
def test_resampling_has_a_number_or_a_name(tmp_path: Path, resample: Any, name: str) -> None:
    assert _read(tmp_path, {**_SIGLIP, "resample": resample}).interpolation == name


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({**_CLIP, "size": {"shortest_edge": 128}}, "neither a squash"),
        ({**_CLIP, "do_center_crop": False}, "neither a squash"),
        ({**_CLIP, "size": {"shortest_edge": 64, "longest_edge": 90}}, "neither a squash"),
        ({**_SIGLIP, "size": {"height": 3000, "width": 3000}}, "size"),
        ({**_SIGLIP, "do_resize": False}, "do_resize"),
        ({**_SIGLIP, "do_pad": True}, "do_pad"),
        ({**_SIGLIP, "resample": 0}, "resample 0 is none of lanczos, bilinear, bicubic"),
        ({**_SIGLIP, "rescale_factor": "a"}, "rescale_factor"),
        ({**_SIGLIP, "image_mean": [0.5, 0.5]}, "three channels"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "ConvNext.* is not known, only CLIP,"),
        ({"max_num_patches": 5000, "patch_size": 16}, "5000 patches of 16 pixels"),
    ],
)
def test_what_cannot_be_declared_is_refused(
    tmp_path: Path, declared: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason) as refused:
        _read(tmp_path, declared)
    assert "preprocessor_config.json" in str(refused.value)
