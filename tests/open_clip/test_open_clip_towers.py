"""open_clip folders become encoders that see and read what open_clip does."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("open_clip", reason="make test-open-clip has an environment for it")

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from scenesearch.encoder.onnx import OnnxEncoder
from tests.awkward import TEXTS, awkward_pictures
from tests.open_clip.tiny_models import FAMILIES, build, tiny_config, write_folder
from training.export import export_towers
from training.towers import load_towers

PARITY = 0.9999
# The families whose folder has no preprocess_cfg, or a part of it: what the library's table says.
TABLE = {
    "openai": ("bicubic", "shortest", open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
    "laion": ("bicubic", "shortest", open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
    "mobileclip": ("bilinear", "shortest", (0.0,) * 3, (1.0,) * 3),
    "siglip2": ("bicubic", "squash", (0.5,) * 3, (0.5,) * 3),
    "clipa": ("bilinear", "squash", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(family, tmp_path_factory.mktemp("open_clip") / f"tiny-{family}")


@pytest.fixture(scope="module")
def towers(folder: Path):
    return load_towers(folder)


@pytest.fixture(scope="module")
def encoder(towers, tmp_path_factory: pytest.TempPathFactory) -> OnnxEncoder:
    made = tmp_path_factory.mktemp("encoder") / "made"
    export_towers(towers, made, name="made", facts={"parent": towers.parent})
    return OnnxEncoder(made)


@pytest.fixture(scope="module")
def model(family: str, folder: Path):
    return build(tiny_config(family), folder)


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    return open_clip.get_tokenizer(f"local-dir:{folder}")


@pytest.fixture(scope="module")
def transform(family: str, model):
    size = model.visual.image_size
    if family in TABLE:
        interpolation, mode, mean, std = TABLE[family]
        declared = {"interpolation": interpolation, "resize_mode": mode, "mean": mean, "std": std}
    else:
        declared = FAMILIES[family].preprocess
    return image_transform_v2(PreprocessCfg(**{**declared, "size": size}), is_train=False)


@pytest.fixture(scope="module")
def pictures(family: str, tmp_path_factory: pytest.TempPathFactory):
    found = awkward_pictures(tmp_path_factory.mktemp("pictures"))
    if family == "longest":  # the library cannot resize a line of pixels to less than one
        return [each for each in found if max(each.size) < 32 * min(each.size)]
    return found


def test_pixels_are_those_of_the_library(encoder, transform, pictures):
    for number, picture in enumerate(pictures):
        wanted = transform(picture).numpy()
        given = encoder.preprocess(picture)
        assert given.shape == wanted.shape
        assert np.abs(given - wanted).max() < 1e-5, f"picture {number}, {picture.size}"


def test_token_ids_are_those_of_the_library(encoder, tokenizer):
    length = encoder.info.text.context_length
    pad, compared = encoder.info.text.pad_token_id, 0
    for text in TEXTS:
        wanted = tokenizer([text])[0].tolist()
        (encoding,) = encoder._tokenized([text], "")
        if encoding.overflowing:
            continue
        given = (_ids(encoding, tokenizer) + [pad] * length)[:length]
        assert given == wanted, repr(text)
        compared += 1
    assert compared > 180


def _ids(encoding, tokenizer):
    """The token ids as the tower sees them: CLIPA's graph replaces the end token."""
    if not getattr(tokenizer, "strip_sep_token", False):
        return encoding.ids
    return [0 if each == tokenizer.tokenizer.sep_token_id else each for each in encoding.ids]


def test_a_cut_text_has_the_ids_of_the_library(encoder, tokenizer):
    for text in (each for each in TEXTS if len(each) > 390):
        (encoding,) = encoder._tokenized([text], "")
        given = _ids(encoding, tokenizer)
        assert given == tokenizer([text])[0].tolist()[: len(given)], text[:20]


@torch.no_grad()
def test_vectors_are_those_of_the_library(encoder, model, tokenizer, transform, pictures):
    pixels = torch.stack([transform(picture) for picture in pictures])
    found = {"image": (encoder.encode_images(pictures), model.encode_image(pixels))}
    texts = [text for text in TEXTS if not encoder._tokenized([text], "")[0].overflowing]
    found["text"] = (encoder.encode_texts(texts), model.encode_text(tokenizer(texts)))
    for side, (given, wanted) in found.items():
        wanted = torch.nn.functional.normalize(wanted, dim=-1).numpy()
        cosines = (given * wanted).sum(axis=1)
        assert cosines.min() >= PARITY, side
        assert np.corrcoef(given)[0, 1:].min() < 0.99999, f"{side}: all vectors are the same"


def test_the_scale_is_declared(encoder, model):
    assert encoder.info.scale.logit_scale == pytest.approx(model.logit_scale.exp().item(), 1e-5)
    bias = model.logit_bias
    assert encoder.info.scale.logit_bias == (None if bias is None else pytest.approx(bias.item()))


def test_what_is_saved_is_an_open_clip_folder_of_the_same_towers(towers, tmp_path):
    saved = tmp_path / towers.name
    saved.mkdir()
    towers.save_to(towers, saved)
    again = load_towers(saved)
    assert again.image_input == towers.image_input
    assert again.text_input == towers.text_input
    assert again.tokenizer.to_str() == towers.tokenizer.to_str()
    before, after = towers.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
