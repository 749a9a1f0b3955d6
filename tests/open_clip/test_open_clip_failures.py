"""What of an open_clip folder is refused, how texts in a language begin, and one training step."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("open_clip", reason="make test-open-clip has an environment for it")

import huggingface_hub
import open_clip
import torch
from transformers import AutoTokenizer

from scenesearch.encoder.model_folder import ModelError
from tests.open_clip.tiny_models import FAMILIES, write_folder
from training.towers import load_towers


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(open_clip.pretrained, "hf_hub_download", refuse)


def change(folder: Path, part: str | None, **values: Any) -> None:
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    target = content["model_cfg"] if part is None else content["model_cfg"][part]
    target |= values
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        (None, {"hook": "os.system"}, "model_cfg.hook is not known"),
        ("vision_cfg", {"timm_model_name": "hf-hub:someone/model"}, "timm has no model"),
        ("vision_cfg", {"timm_model_name": "local-dir:/tmp"}, "timm has no model"),
        ("vision_cfg", {"timm_model_name": "vit_of_tomorrow"}, "timm has no model"),
        ("vision_cfg", {"checkpoint_path": "/etc/passwd"}, "vision_cfg.checkpoint_path"),
        ("vision_cfg", {"layers": 100_000}, "vision_cfg.layers"),
        ("vision_cfg", {"width": 10**9}, "is no value of a model"),
        ("vision_cfg", {"width": {"a": 1}}, "is no value of a model"),
        ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}, "trust_remote_code"),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "rm"}}, "'rm'"),
        ("text_cfg", {"act_kwargs": {"inplace": True}}, "act_kwargs.inplace"),
        ("text_cfg", {"tokenizer_mode": "clips", "hf_tokenizer_name": "a/b"}, "tokenizer_mode"),
        ("text_cfg", {"hf_tokenizer_name": "a/b"}, "tokenizer files of a/b"),
        ("text_cfg", {"hf_model_name": "someone/text"}, "config.json of someone/text"),
        ("text_cfg", {"context_length": "long"}, "cannot be loaded"),
    ],
)
def test_a_strange_configuration_is_refused(tmp_path, part, values, message):
    folder = write_folder("datacomp", tmp_path / "model")
    change(folder, part, **values)
    with pytest.raises(ModelError, match=message):
        load_towers(folder)


def test_a_pickle_alone_is_refused(tmp_path):
    folder = write_folder("datacomp", tmp_path / "model")
    weights = folder / FAMILIES["datacomp"].weights
    weights.rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickles .* are not read"):
        load_towers(folder)


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = write_folder("datacomp", tmp_path / "model")
    change(folder, None, embed_dim=64)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_towers(folder)


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    folder = write_folder("datacomp", tmp_path / "model")
    (folder / FAMILIES["datacomp"].weights).write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_towers(folder)


def test_what_was_recognised_is_said(tmp_path):
    towers = load_towers(write_folder("pe", tmp_path / "model"))
    assert towers.parent["layout"] == "open_clip vit_pe_core_nano_32"
    assert towers.parent["license"] == "mit"


def test_a_published_repository_is_named(tmp_path):
    folder = write_folder("datacomp", tmp_path / "CLIP-ViT-B-16-DataComp.XL-s13B-b90K")
    layout = load_towers(folder).parent["layout"]
    assert layout == "open_clip ViT-B-16 (datacomp_xl_s13b_b90k)"


def test_texts_begin_with_the_token_of_their_language(tmp_path):
    folder = write_folder("nllb", tmp_path / "model")
    # open_clip's set_language is undone by transformers 5 at each call, so this is transformers'.
    of_library = AutoTokenizer.from_pretrained(folder, src_lang="deu_Latn")
    given = load_towers(folder, language="de").tokenizer.encode("ein hund").ids
    assert given == of_library("ein hund").input_ids
    assert given != load_towers(folder).tokenizer.encode("ein hund").ids


def test_a_language_is_refused_where_texts_have_none(tmp_path):
    folder = write_folder("datacomp", tmp_path / "model")
    with pytest.raises(ModelError, match="takes texts without a language"):
        load_towers(folder, language="de")


@pytest.mark.parametrize("family", ["datacomp", "siglip2", "mobileclip2"])
def test_a_step_of_training_changes_every_part_and_is_saved(tmp_path, family):
    towers = load_towers(write_folder(family, tmp_path / "model"))
    before = {side: [p.clone() for p in found] for side, found in towers.parts().items()}
    towers.train()
    towers.tokenizer.enable_padding(length=8)
    tokens = towers.tokenizer.encode_batch(["a dog", "a red boat"])
    ids = torch.tensor([encoding.ids for encoding in tokens])
    towers.tokenizer.no_padding()
    images = towers.image_tower(torch.randn(2, *towers.image_input.shape))
    texts = towers.text_tower(ids, torch.ones_like(ids))
    logits = towers.logit_scale * images @ texts.T
    torch.nn.functional.cross_entropy(logits, torch.arange(2)).backward()
    torch.optim.AdamW(towers.parameters(), lr=0.01).step()
    for side, parameters in towers.parts().items():
        pairs = zip(before[side], parameters, strict=True)
        assert any(not torch.equal(old, new) for old, new in pairs), side
    towers.eval()
    saved = tmp_path / "saved"
    saved.mkdir()
    towers.save_to(towers, saved)
    again = load_towers(saved).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in towers.state_dict().items())
