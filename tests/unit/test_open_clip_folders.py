"""open_clip folders and repositories where open_clip_torch is not installed."""

import importlib.util
import json

import pytest

from scenesearch.encoder.hub import HubError, RemoteFile, Repository, names_to_convert
from scenesearch.encoder.model_folder import ModelError, read_open_clip_image_input


def repository(*names: str) -> Repository:
    return Repository("someone/clip", "0" * 40, dict.fromkeys(names, RemoteFile(1, None)), None)


@pytest.mark.skipif(importlib.util.find_spec("open_clip") is not None, reason="it is installed")
def test_without_the_extra_one_sentence_says_how_to_install_it(tmp_path):
    pytest.importorskip("torch")
    from training.towers import load_towers

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}))
    with pytest.raises(ModelError, match=r"environment of its own.*scenesearch\[open-clip\]"):
        load_towers(folder)


def test_a_repository_of_open_clip_is_taken_with_its_weights():
    names = ("open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json")
    repo = repository(*names, "open_clip_pytorch_model.bin")
    assert set(names_to_convert(repo)) == set(names)


def test_the_text_model_beside_open_clip_weights_does_not_hide_them():
    names = ("open_clip_config.json", "open_clip_pytorch_model.safetensors", "config.json")
    assert set(names_to_convert(repository(*names))) == set(names)


def test_of_a_model_in_both_formats_that_of_transformers_is_taken():
    names = ("config.json", "model.safetensors", "open_clip_config.json")
    repo = repository(*names, "open_clip_model.safetensors")
    assert set(names_to_convert(repo)) == set(names)


def test_open_clip_pickles_alone_are_refused():
    with pytest.raises(HubError, match="neither safetensors"):
        names_to_convert(repository("open_clip_config.json", "open_clip_pytorch_model.bin"))


def test_an_incomplete_preprocess_cfg_is_as_openai_has_it(tmp_path):
    declared = read_open_clip_image_input({"size": [20, 30], "fill_color": 7}, tmp_path)
    assert (declared.size, declared.resize, declared.interpolation, declared.fill) == (
        (20, 30),
        "shortest_edge_crop",
        "bicubic",
        (7, 7, 7),
    )
    assert declared.crop_offset == "nearest"
    assert declared.mean == (0.48145466, 0.4578275, 0.40821073)


@pytest.mark.parametrize(
    "declared", [{"resize_mode": "stretch"}, {"size": "large"}, {"mean": [1]}, {"std": [0, 0, 0]}]
)
def test_a_preprocess_cfg_that_means_nothing_is_refused(tmp_path, declared):
    with pytest.raises(ModelError, match=str(tmp_path)):
        read_open_clip_image_input(declared, tmp_path)
