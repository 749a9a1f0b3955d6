"""The whole road on a tiny CLIP: trained on drawn scenes, exported, ingested and measured."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

pytestmark = pytest.mark.slow


def scenesearch(*arguments: str | Path, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scenesearch.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={
            **{name: value for name, value in os.environ.items() if "SCENESEARCH" not in name},
            "SCENESEARCH_DATA_DIR": str(data_dir),
            "HF_HUB_OFFLINE": "1",
        },
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("smoke")
    done = scenesearch("train", "--recipe", "smoke", "--out", place / "run", data_dir=place)
    assert done.returncode == 0, done.stderr
    assert "Loading weights" not in done.stderr  # one bar, ours
    return place / "run"


def test_it_learns_its_scenes_by_heart(out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    best = max(row["R@1"] for row in summary["validation"]["wise_ft"])
    assert best >= 90


def test_its_encoder_finds_the_scenes_it_learned(out: Path, tmp_path: Path) -> None:
    (folder,) = (out / "cache").glob("drawn-*")
    images = {path.name for path in (folder / "train_images").iterdir()}
    captions = [row.split("\t") for row in (folder / "captions.tsv").read_text().splitlines()]
    rows = [(text, key.split("#")[0]) for key, text in captions if key.split("#")[0] in images]
    queries = tmp_path / "queries.csv"
    with queries.open("w", newline="") as file:
        csv.writer(file).writerows([("query_text", "images"), *rows])
    measured = scenesearch(
        *("evaluate", "--queries", queries, "--images", folder / "train_images"),
        *("--encoder", out / "encoder", "--json"),
        data_dir=tmp_path,
    )
    assert measured.returncode == 0, measured.stderr
    found = json.loads(measured.stdout)
    assert found["gallery"] == 48
    assert found["metrics"]["recall@1"] >= 0.9


def test_its_encoder_is_calibrated_and_has_a_card(out: Path) -> None:
    declared = json.loads((out / "encoder" / "encoder.json").read_text())
    assert declared["calibration"]["method"] == "logistic"
    card = (out / "encoder" / "README.md").read_text()
    for said in (
        "## Made from",
        "drawn:48",
        "## Scores",
        "No evaluation set was given",
        "## Limits",
    ):
        assert said in card


def test_its_weights_give_the_same_vectors_in_sentence_transformers(out: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from scenesearch.encoder.onnx import OnnxEncoder

    model = sentence_transformers.SentenceTransformer(str(out / "weights"), device="cpu")
    texts = ["a red circle", "two boats under the moon"]
    ours = OnnxEncoder(out / "encoder", threads=1).encode_texts(texts)
    assert np.allclose(model.encode(texts, normalize_embeddings=True), ours, atol=1e-3)
