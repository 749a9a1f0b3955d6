"""One training step on each family of bases, and the encoder that comes of it is served."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from scenesearch.encoder.onnx import OnnxEncoder
from tests.tiny_bases import write_dual_encoder, write_siglip
from training.tiny_clip import write_tiny_clip
from training.train import train

pytestmark = pytest.mark.slow

TEXTS = ["a red dog", "a blue circle on a green field and a red dog"]


@pytest.mark.parametrize("family", ["clip", "siglip", "vision-text-dual-encoder"])
@pytest.mark.parametrize("trains", ["both", "lora"])
def test_one_step_moves_the_weights_and_leaves_an_encoder(
    family: str, trains: str, tmp_path: Path
) -> None:
    base = write_tiny_clip(tmp_path / "clip", TEXTS, seed=0)
    if family == "siglip":
        base = write_siglip(tmp_path / "siglip", base)
    elif family == "vision-text-dual-encoder":
        base = write_dual_encoder(tmp_path / "dual", base)
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


def _untouched(base: Path, tmp_path: Path) -> Path:
    from training.export import export_towers
    from training.towers import load_towers

    export_towers(load_towers(base), tmp_path / "before", name="before", facts={})
    return tmp_path / "before"
