"""sentence-transformers folders, laid out as clip-ViT-B-32 and its multilingual text tower are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers")
pytest.importorskip("sentencepiece")

from scenesearch.encoder.base import TextInput  # noqa: E402
from scenesearch.encoder.model_folder import ModelError  # noqa: E402
from scenesearch.encoder.onnx import OnnxEncoder  # noqa: E402
from tests.awkward import TEXTS, awkward_pictures  # noqa: E402
from tests.tiny_bases import write_clip, write_sentence_clip, write_sentence_texts  # noqa: E402
from training.export import export_towers  # noqa: E402
from training.sentence import read_plan, with_prompts  # noqa: E402
from training.tiny_clip import write_tiny_clip  # noqa: E402
from training.towers import load_towers  # noqa: E402


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("sentence")
    clip = write_clip(place / "clip", write_tiny_clip(place / "tokenizer", TEXTS, seed=0))
    return (
        write_sentence_clip(place / "clip-ViT-B-32", clip),
        write_sentence_texts(place / "multilingual", dimension=24),
    )


def test_a_pair_of_folders_is_recognised(folders):
    towers = load_towers(folders[0], text_base=folders[1])
    assert towers.parent["layout"] == (
        "CLIP of transformers in a sentence-transformers folder, "
        "texts by a sentence-transformers folder"
    )
    assert (towers.dimension, towers.text_input.context_length) == (24, 128)


@pytest.mark.slow
def test_a_pair_of_folders_is_served_as_the_library_computes_it(folders, tmp_path):
    towers = load_towers(folders[0], text_base=folders[1])
    export_towers(towers, tmp_path / "out", name="pair", facts={})
    encoder = OnnxEncoder(tmp_path / "out", threads=1)
    texts = sentence_transformers.SentenceTransformer(str(folders[1]), device="cpu")
    short = [text for text in TEXTS if len(text) < 100]
    wanted = texts.encode(short, normalize_embeddings=True)
    assert np.abs(encoder.encode_texts(short) - wanted).max() < 1e-4
    pictures = awkward_pictures(tmp_path / "pictures")
    images = sentence_transformers.SentenceTransformer(str(folders[0]), device="cpu")
    wanted = images.encode(pictures, normalize_embeddings=True)
    assert np.abs(encoder.encode_images(pictures) - wanted).max() < 2e-3


@pytest.mark.parametrize(
    ("declared", "prefixes"),
    [
        ({"prompts": {}}, ("", "")),
        ({"prompts": {"query": "q: ", "document": "d: "}}, ("q: ", "d: ")),
        ({"prompts": {"query": "q: ", "passage": "p: "}}, ("q: ", "p: ")),
        ({"prompts": {"query": "q: "}}, ("q: ", "")),
        ({"prompts": {"all": "a: "}, "default_prompt_name": "all"}, ("a: ", "a: ")),
        ({"prompts": {"other": "o: "}, "default_prompt_name": None}, ("", "")),
    ],
)
def test_prompts_stand_before_requests_and_descriptions(
    tmp_path: Path, declared: dict[str, Any], prefixes: tuple[str, str]
) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(declared))
    (tmp_path / "modules.json").write_text('[{"type": "a.Transformer", "path": ""}]')
    found = with_prompts(TextInput(context_length=8), tmp_path)
    assert (found.prefix, found.document_prefix) == prefixes


def test_prompts_that_the_mean_leaves_out_are_refused(tmp_path: Path) -> None:
    text_folder = write_sentence_texts(tmp_path, dimension=4)
    declared = {"prompts": {"query": "q: "}}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(declared))
    pooling = tmp_path / "1_Pooling" / "config.json"
    content = json.loads(pooling.read_text())
    pooling.write_text(json.dumps({**content, "include_prompt": False}))
    with pytest.raises(ModelError, match="leaves its prompts out of the mean"):
        with_prompts(TextInput(context_length=8), text_folder)


def test_a_text_tower_that_lowers_its_texts_is_served_so(tmp_path: Path) -> None:
    folder = write_sentence_texts(tmp_path, dimension=4)
    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    assert read_plan(folder).lowercase


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b"])
def test_a_module_outside_of_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    rows = [{"type": "a.Transformer", "path": path}]
    (tmp_path / "modules.json").write_text(json.dumps(rows))
    with pytest.raises(ModelError, match="outside of the folder"):
        read_plan(tmp_path)
