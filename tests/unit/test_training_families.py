"""Each family of transformers, laid out as its repositories are, says what transformers says.

Tokens and pixels are compared with the library's own tokenizer and image processor over 200
awkward texts and 20 odd pictures, vectors with its model. The image processors are those for
Pillow: those for torchvision resize with another filter. A text longer than the context is split
into sentences when it is served, so of those only the tokens are compared.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

from scenesearch.encoder.base import ImageInput  # noqa: E402
from scenesearch.encoder.model_folder import ModelError  # noqa: E402
from scenesearch.encoder.onnx import OnnxEncoder  # noqa: E402
from scenesearch.encoder.preprocessing import as_picture, clean_text, to_pixels  # noqa: E402
from scenesearch.search.why import heat_map  # noqa: E402
from tests import tiny_bases  # noqa: E402
from tests.awkward import TEXTS, awkward_pictures  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from training.export import export_towers  # noqa: E402
from training.tiny_clip import write_tiny_clip  # noqa: E402
from training.towers import load_towers  # noqa: E402
from training.transformers_towers import _resizing_weights  # noqa: E402
from training.views import View, load_view  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:This sequence already has </s>"),
    pytest.mark.usefixtures("one_torch_thread"),
]


@dataclass(frozen=True)
class Case:
    write: Any
    model: Any
    tokenizer: Any
    processor: Any
    layout: str
    whole: bool = False  # texts are padded to the whole context


CASES = {
    "clip": Case(
        lambda folder: _clip(folder),
        transformers.CLIPModel,
        transformers.CLIPTokenizer,
        transformers.CLIPImageProcessorPil,
        "CLIP",
    ),
    "siglip": Case(
        tiny_bases.write_siglip,
        transformers.SiglipModel,
        transformers.SiglipTokenizer,
        transformers.SiglipImageProcessorPil,
        "SigLIP",
        whole=True,
    ),
    "siglip_multilingual": Case(
        lambda folder: tiny_bases.write_siglip(folder, in_bytes=True),
        transformers.SiglipModel,
        transformers.SiglipTokenizer,
        transformers.SiglipImageProcessorPil,
        "SigLIP",
        whole=True,
    ),
    "siglip2": Case(
        tiny_bases.write_siglip_2,
        transformers.SiglipModel,
        transformers.Siglip2Tokenizer,
        transformers.SiglipImageProcessorPil,
        "SigLIP 2",
        whole=True,
    ),
    "naflex": Case(
        tiny_bases.write_naflex,
        transformers.Siglip2Model,
        transformers.Siglip2Tokenizer,
        transformers.Siglip2ImageProcessorPil,
        "SigLIP 2 NaFlex",
        whole=True,
    ),
    "metaclip_2": Case(
        tiny_bases.write_metaclip_2,
        transformers.MetaClip2Model,
        transformers.XLMRobertaTokenizer,
        transformers.CLIPImageProcessorPil,
        "MetaCLIP 2",
    ),
    "chinese_clip": Case(
        tiny_bases.write_chinese_clip,
        transformers.ChineseCLIPModel,
        transformers.BertTokenizer,
        transformers.ChineseCLIPImageProcessorPil,
        "Chinese-CLIP",
    ),
    "altclip": Case(
        tiny_bases.write_altclip,
        transformers.AltCLIPModel,
        transformers.XLMRobertaTokenizer,
        transformers.CLIPImageProcessorPil,
        "AltCLIP",
    ),
    "dual": Case(
        tiny_bases.write_dual_encoder,
        transformers.VisionTextDualEncoderModel,
        transformers.BertTokenizer,
        transformers.ViTImageProcessorPil,
        "VisionTextDualEncoder",
    ),
}


def _clip(folder: Path) -> Path:
    """With OpenAI's own tokenizer where the shared data is there, else with a small one."""
    shared = Path(os.environ.get("SCENESEARCH_SHARED", ROOT.parent / "shared"))
    tokenizer = shared / "models" / "clip-vit-b32-config"
    if not tokenizer.is_dir():
        tokenizer = write_tiny_clip(folder / "tokenizer", TEXTS, seed=0)
    return tiny_bases.write_clip(folder / "clip", tokenizer)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return awkward_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module", params=CASES)
def family(request, tmp_path_factory):
    case = CASES[request.param]
    return case, case.write(tmp_path_factory.mktemp(request.param))


def test_a_family_is_recognised_and_reads_tokens_as_its_library(family):
    case, folder = family
    towers = load_towers(folder)
    assert towers.parent["layout"] == f"{case.layout} of transformers"
    library = case.tokenizer.from_pretrained(folder)
    declared = towers.text_input
    # SigLIP's class adds no end to a text that says "</s>"; padded, that makes no difference.
    length = declared.context_length if case.whole else 0
    for text in TEXTS:
        ours = towers.tokenizer.encode(clean_text(text, declared)).ids
        theirs = library(text)["input_ids"]
        assert _padded(ours, declared.pad_token_id, length) == _padded(
            theirs, library.pad_token_id, length
        ), text


def _padded(ids: list[int], pad: int, length: int) -> list[int]:
    return ids + [pad] * (length - len(ids))


def test_a_family_sees_pictures_as_its_library(family, pictures):
    case, folder = family
    declared = load_towers(folder).image_input
    library = case.processor.from_pretrained(folder)
    for number, picture in enumerate(pictures):
        wanted = library(picture, return_tensors="np")
        ours = to_pixels(picture, declared)
        if declared.resize == "patches":
            assert ours[0, :2].tolist() == wanted["spatial_shapes"][0].tolist(), number
            ours = ours[1:]
        assert np.abs(ours - wanted["pixel_values"][0]).max() <= 1e-5, number


@pytest.mark.slow
def test_a_family_is_served_as_its_library_computes_it(family, pictures, tmp_path):
    case, folder = family
    towers = load_towers(folder)
    export_towers(towers, tmp_path / "out", name="tiny", facts={})
    encoder = OnnxEncoder(tmp_path / "out", threads=1)
    if encoder.info.image.resize == "patches":
        # A column of patches: torch 2.13 resizes the library's positions for it to one value.
        pictures = [one for one in pictures if one.height < 50 * one.width]
    model = case.model.from_pretrained(folder).eval()
    processor = case.processor.from_pretrained(folder)
    tokenizer = case.tokenizer.from_pretrained(folder)
    context = encoder.info.text.context_length
    short = [text for text in TEXTS if len(tokenizer(text)["input_ids"]) <= context]
    assert len(short) > 150
    padding = {"padding": "max_length", "max_length": context} if case.whole else {"padding": True}
    feed = tokenizer(short, return_tensors="pt", **padding)
    if case.whole:  # trained without a mask
        feed = {"input_ids": feed["input_ids"]}
    with torch.no_grad():
        texts = model.get_text_features(**feed).pooler_output.numpy()
        images = [
            model.get_image_features(**processor(picture, return_tensors="pt")).pooler_output
            for picture in pictures
        ]
    assert _cosine(encoder.encode_texts(short), texts) >= 0.9999
    assert _cosine(encoder.encode_images(pictures), torch.cat(images).numpy()) >= 0.9999


def _cosine(given: np.ndarray, wanted: np.ndarray) -> float:
    """The least cosine of vectors without their mean: random towers give all texts one direction,
    in which they would agree whatever they read."""
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    middle = wanted.mean(axis=0)
    given, wanted = given - middle, wanted - middle
    norms = np.linalg.norm(given, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((given * wanted).sum(axis=1) / norms).min())


@pytest.mark.parametrize("height", [1, 2, 3, 7, 8, 9])
def test_positions_are_resized_as_interpolate_does_it(height):
    table = torch.randn(8, 8, 5, generator=torch.Generator().manual_seed(0))
    width = 100 // height
    # Not a single column, which torch 2.13 resizes to one value.
    wanted = torch.nn.functional.interpolate(
        table.permute(2, 0, 1)[None], size=(height, width), mode="bilinear", antialias=True
    )[0]

    def weights(length: int) -> torch.Tensor:
        return _resizing_weights(torch.arange(length)[None] * 1.0, torch.tensor([[length]]), 8)[0]

    ours = torch.einsum("rs,ct,std->drc", weights(height), weights(width), table)
    assert torch.allclose(ours, wanted, atol=1e-5)


def test_patches_unpack_to_the_picture_they_were_made_of(tmp_path, pictures):
    declared = load_towers(tiny_bases.write_naflex(tmp_path)).image_input
    packed = to_pixels(pictures[7], declared)
    picture = as_picture(packed, declared)
    rows, columns = packed[0, :2]
    assert picture.shape == (16 * rows, 16 * columns, 3)
    assert picture[16, 32].tolist() == packed[1 + int(columns) + 2, :3].tolist()


def test_siglip_is_read_without_its_sentencepiece_model(tmp_path):
    folder = tiny_bases.write_siglip(tmp_path)
    tokenizer = load_towers(folder).tokenizer
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "spiece.model").unlink()
    again = load_towers(folder).tokenizer
    for text in TEXTS:
        assert again.encode(text).ids == tokenizer.encode(text).ids


@pytest.mark.parametrize("content", [b"", b"no model", b"\x0a\xff"])
def test_a_broken_sentencepiece_model_is_one_sentence(tmp_path, content):
    folder = tiny_bases.write_siglip(tmp_path)
    (folder / "spiece.model").write_bytes(content)
    with pytest.raises(ModelError, match=r"spiece\.model (is no|lacks)"):
        load_towers(folder)


def test_a_capital_changes_nothing_for_siglip_2(tmp_path):
    towers = load_towers(tiny_bases.write_siglip_2(tmp_path))
    assert towers.tokenizer.encode("A Dog").ids == towers.tokenizer.encode("a dog").ids


def test_a_picture_of_patches_is_explained_and_trained_on_in_its_own_shape(tmp_path):
    declared = load_towers(tiny_bases.write_naflex(tmp_path)).image_input
    path = tmp_path / "wide.png"
    Image.new("RGB", (400, 100), (200, 0, 0)).save(path)
    whole = load_view(path, None, declared)
    assert np.allclose(whole, to_pixels(Image.open(path), declared), atol=1e-5)
    half = load_view(path, View((0.0, 0.0, 0.5, 1.0), mirrored=True, gain=1.0), declared)
    assert half.shape == whole.shape == declared.shape
    assert (half[0, :2].tolist(), whole[0, :2].tolist()) == ([7, 14], [5, 20])


class _Brightest:
    """An encoder that gives the mean of each channel, for pictures of patches."""

    def __init__(self, image: ImageInput) -> None:
        self.info = SimpleNamespace(image=image)

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        return to_pixels(picture, self.info.image)

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        return np.stack([as_picture(one, self.info.image).mean(axis=(0, 1)) for one in pixels])


def test_the_heat_map_covers_the_place_in_a_picture_of_patches(tmp_path):
    declared = load_towers(tiny_bases.write_naflex(tmp_path)).image_input
    picture = Image.new("RGB", (300, 100))
    picture.paste((255, 0, 0), (260, 0, 300, 40))  # the upper right corner
    query: Any = SimpleNamespace(vector=np.array([1.0, 0, 0]), log_odds=lambda cosines: cosines)
    found = heat_map(cast("Any", _Brightest(declared)), query, picture)
    row, column = np.unravel_index(found.cells.argmax(), found.cells.shape)
    assert (row <= 2, column >= 5) == (True, True)
