"""One training step on each family of bases, and the encoder that comes of it is served."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.preprocessing import clean_text
from tests import tiny_bases
from training.tiny_clip import write_tiny_clip
from training.towers import load_towers
from training.train import train

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
    before = OnnxEncoder(_untouched(base, tmp_path), threads=1)
    assert abs(encoder.encode_texts(TEXTS) - before.encode_texts(TEXTS)).max() > 1e-3
    # What was saved beside the encoder is a base again, with its tokenizer and preprocessing.
    again = load_towers(out / "weights")
    ids = again.tokenizer.encode(clean_text("A Dog!", again.text_input)).ids
    same = load_towers(base)
    assert ids == same.tokenizer.encode(clean_text("A Dog!", same.text_input)).ids
    assert (again.image_input, again.text_input) == (same.image_input, same.text_input)


def _untouched(base: Path, tmp_path: Path) -> Path:
    from training.export import export_towers

    export_towers(load_towers(base), tmp_path / "before", name="before", facts={})
    return tmp_path / "before"
