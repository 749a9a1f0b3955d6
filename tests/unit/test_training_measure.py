"""Scores of an encoder folder are what its searches find."""

import json
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("torch")

from scenesearch.datasets.queries import Query
from scenesearch.encoder.onnx import OnnxEncoder
from tests.tiny_encoder import write_tiny_encoder
from training import measure

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


def test_queries_are_searched_among_the_pictures(tmp_path: Path) -> None:
    encoder = OnnxEncoder(write_tiny_encoder(tmp_path / "tiny"))
    pictures = [
        (f"{n}{name}.png", Image.new("RGB", (4, 4), rgb))
        for n in range(7)
        for name, rgb in COLOURS.items()
    ]
    queries = [
        Query("1", "red", tuple(f"{n}red.png" for n in range(7))),
        Query("2", "blue", ("0green.png",)),
    ]
    with measure.temporary_library(encoder, pictures) as store:
        found = measure.search_and_score(encoder, store, queries, "success")
    # "blue" finds seven blue pictures first, then the others by their names
    assert found == {
        "gallery": 21,
        "queries": 2,
        "success@1": 50.0,
        "success@5": 50.0,
        "success@10": 100.0,
    }


def test_a_folder_is_scored_on_what_data_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "DRAWN", 4)
    folder = write_tiny_encoder(tmp_path / "tiny")
    told: list[str] = []
    measure.score_folder(folder, tmp_path / "nothing", told.append)
    scores = json.loads((folder / "encoder.json").read_text())["scores"]
    assert scores.keys() == {"drawn-300"}
    assert (scores["drawn-300"]["gallery"], scores["drawn-300"]["queries"]) == (4, 20)
    assert len(told) == 1
