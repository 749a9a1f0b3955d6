"""One training step on each family of bases, and the encoder that comes of it is served."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import torch

from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.preprocessing import clean_text
from tests import tiny_bases
from training.tiny_clip import write_tiny_clip
from training.towers import load_towers
from training.train import train
from training.two_towers import Towers

pytestmark = pytest.mark.slow

TEXTS = ["a red dog", "a blue circle on a green field and a red dog"]


WRITE = {
    "clip": lambda folder: write_tiny_clip(folder, TEXTS, seed=0),
    "metaclip_2": tiny_bases.write_metaclip_2,
    "siglip": tiny_bases.write_siglip,
    "siglip2": tiny_bases.write_naflex,
    "chinese_clip": tiny_bases.write_chinese_clip,
    "altclip": tiny_bases.write_altclip,
    "vision-text-dual-encoder": tiny_bases.write_dual_encoder,
}


@pytest.mark.parametrize("family", WRITE)
@pytest.mark.parametrize("trains", ["both", "lora"])
def test_one_step_moves_the_weights_and_leaves_an_encoder(
    family: str, trains: str, tmp_path: Path
) -> None:
    base = WRITE[family](tmp_path / "base")
    out = tmp_path / "out"
    summary = train(
        "clip",
        out=out,
        data=["drawn:16"],
        base=str(base),
        overrides=[
            *("max_steps=1", "batch=4", f"trains={trains}", "lr_text=0.01", "lr_image=0.01"),
            *("lr_heads=0.01", "wise_ft=[1.0]", "warmup_share=0.0", "validation_share=0.25"),
        ],
        log=lambda line: None,
        on_step=lambda done, total, loss: None,
    )
    assert summary["steps"] == 1
    declared = json.loads((out / "encoder" / "encoder.json").read_text())
    assert min(declared["parity"].values()) >= 0.9999
    assert declared["parent"]["model_type"] == family
    encoder = OnnxEncoder(out / "encoder", threads=1)
    assert encoder.encode_texts(TEXTS).shape == (2, encoder.info.dimension)
    before = load_towers(base)
    assert abs(encoder.encode_texts(TEXTS) - _embedded(before)).max() > 1e-3
    # What was saved beside the encoder is a base again, with its tokenizer and preprocessing.
    again = load_towers(out / "weights")
    ids = again.tokenizer.encode(clean_text("A Dog!", again.text_input)).ids
    assert ids == before.tokenizer.encode(clean_text("A Dog!", before.text_input)).ids
    assert (again.image_input, again.text_input) == (before.image_input, before.text_input)


@torch.no_grad()
def _embedded(towers: Towers) -> NDArray[np.float32]:
    """What these towers make of the texts, one at a time: `(texts, dimension)`, of length 1."""
    found = []
    for text in TEXTS:
        encoded = towers.tokenizer.encode(clean_text(text, towers.text_input))
        ids, mask = torch.tensor([encoded.ids]), torch.tensor([encoded.attention_mask])
        found.append(torch.nn.functional.normalize(towers.text_tower(ids, mask)))
    return torch.cat(found).numpy()
