"""Encoders found by their fingerprint, wherever on this machine they lie."""

import json
import shutil
from pathlib import Path

import pytest

from scenesearch.encoder.base import EncoderError, EncoderReplaced
from scenesearch.encoder.folder import read_encoder_info
from scenesearch.encoder.registry import find_by_fingerprint, remember_encoder
from tests.tiny_encoder import declare, write_tiny_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path / "tiny")


def test_encoders_that_differ_in_the_text_side_alone_share_the_image_fingerprint(
    folder: Path,
) -> None:
    before = read_encoder_info(folder)
    declare(folder, text={"context_length": 4, "prefix": "a photo of "})
    after = read_encoder_info(folder)
    assert after.fingerprint != before.fingerprint
    assert after.image_fingerprint == before.image_fingerprint


def test_other_pixels_make_another_image_fingerprint(folder: Path) -> None:
    before = read_encoder_info(folder)
    declared = json.loads((folder / "encoder.json").read_text())
    declare(folder, image={**declared["image"], "interpolation": "bilinear"})
    assert read_encoder_info(folder).image_fingerprint != before.image_fingerprint


def test_a_remembered_folder_is_found_by_fingerprint(folder: Path, tmp_path: Path) -> None:
    info, file = read_encoder_info(folder), tmp_path / "data" / "encoders.json"
    remember_encoder(file, info)
    found = find_by_fingerprint(
        info.fingerprint, "tiny", library="photos", default="lite", file=file
    )
    assert found == folder


def test_a_shelved_encoder_is_found_under_another_name(folder: Path, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shutil.copytree(folder, shelf / "renamed")
    fingerprint = read_encoder_info(folder).fingerprint
    found = find_by_fingerprint(fingerprint, "tiny", library="photos", default="lite", shelf=shelf)
    assert found == shelf / "renamed"


def test_a_folder_that_holds_another_encoder_by_now_is_said(folder: Path, tmp_path: Path) -> None:
    info, file = read_encoder_info(folder), tmp_path / "encoders.json"
    remember_encoder(file, info)
    declare(folder, text={"context_length": 4, "prefix": "a photo of "})
    with pytest.raises(EncoderError, match=rf"encoder tiny .* nor in {folder} any longer"):
        find_by_fingerprint(info.fingerprint, "tiny", library="photos", default="lite", file=file)


def test_an_encoder_whose_name_another_has_is_said_with_what_to_do(
    folder: Path, tmp_path: Path
) -> None:
    shelf, file = tmp_path / "shelf", tmp_path / "encoders.json"
    shutil.copytree(folder, shelf / "tiny")
    before = read_encoder_info(shelf / "tiny")
    remember_encoder(file, before)
    declare(shelf / "tiny", text={"context_length": 4, "prefix": "a photo of "})
    now = read_encoder_info(shelf / "tiny")
    with pytest.raises(EncoderReplaced) as replaced:
        find_by_fingerprint(
            before.fingerprint, "tiny", library="photos", default="lite", shelf=shelf, file=file
        )
    assert str(replaced.value) == (
        f"library photos holds vectors of another tiny ({before.fingerprint[:8]}) than the one "
        f"here ({now.fingerprint[:8]}); the text side of its own is gone, so it cannot be "
        "searched: `scenesearch library build photos` encodes its originals again, then "
        "`scenesearch library promote photos` makes the result live"
    )


def test_a_broken_namesake_has_replaced_nothing(folder: Path, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shutil.copytree(folder, shelf / "tiny")
    (shelf / "tiny" / "text.onnx").unlink()
    with pytest.raises(EncoderError, match=r"encoder tiny .* is not on this machine"):
        find_by_fingerprint("00" * 32, "tiny", library="photos", default="lite", shelf=shelf)


def test_a_broken_encoder_on_the_shelf_hides_no_other(folder: Path, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shutil.copytree(folder, shelf / "whole")
    shutil.copytree(folder, shelf / "tiny")
    (shelf / "tiny" / "text.onnx").unlink()
    fingerprint = read_encoder_info(folder).fingerprint
    assert (
        find_by_fingerprint(fingerprint, "tiny", library="photos", default="none", shelf=shelf).name
        == "whole"
    )
