"""encoder.json of a stranger: refused in one sentence when it is read, or it serves."""

import copy
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scenesearch.encoder.base import EncoderError
from scenesearch.encoder.folder import read_encoder_info
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import list_encoders
from tests.tiny_encoder import declare, write_tiny_encoder

HOSTILE: tuple[Any, ...] = (
    None, True, 0, -1, 1, 4, 10**12, 2**63, 10**400, 0.5, 1e-320, 1e308, float("nan"),
    float("inf"), "", "x", "4", "../../x", "\x00", "x" * 5000, [], [4], [4, 4], [4096, 4096],
    [float("nan")] * 3, [1e-300] * 3, {}, {"x": []}, "squash", "context_length",
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = []
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += [(*at, key), *places(value[key], (*at, key))]
    return found


def changed(document: Any, at: tuple[Any, ...], to: Any) -> Any:
    document = copy.deepcopy(document)
    holder = document
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = to
    return document


@pytest.mark.parametrize(
    "change",
    [
        {"image": {"size": [4096, 4096], "resize": "squash", "mean": [0] * 3, "std": [1] * 3}},
        {"image": {"size": [4, 4], "resize": "squash", "mean": [float("nan")] * 3,
                   "std": [1] * 3}},
        {"image": {"size": [4, 4], "resize": "squash", "mean": [0] * 3, "std": [1e-300] * 3}},
        {"image": {"size": [True, 4], "resize": "squash", "mean": [0] * 3, "std": [1] * 3}},
        {"text": {"context_length": 4, "pad_token_id": 10**12}},
        {"text": {"context_length": "4"}},
        {"calibration": {"intercept": float("inf")}},
        {"scores": {"x": float("nan")}},
        {"dimension": 3.5},
        {"files": {"image.onnx": {"sha256": "../../x", "bytes": 5}}},
    ],
)  # fmt: skip
def test_an_impossible_manifest_is_refused_when_it_is_read(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    declare(folder, **change)
    with pytest.raises(EncoderError) as refused:
        read_encoder_info(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "nul", "[" * 100_000, '{"a":' * 50_000, "1e999"])
def test_what_is_no_manifest_is_one_sentence(tmp_path: Path, text: str) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    (folder / "encoder.json").write_text(text)
    with pytest.raises(EncoderError) as refused:
        read_encoder_info(folder)
    assert "\n" not in str(refused.value)


def test_a_fifo_in_the_place_of_the_manifest_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "encoder.json")
    with pytest.raises(EncoderError, match=r"has no encoder\.json"):
        read_encoder_info(tmp_path)


@pytest.mark.slow
def test_a_forged_manifest_is_refused_in_one_sentence_or_serves(tmp_path: Path) -> None:
    shelf = tmp_path / "models"
    folder = write_tiny_encoder(shelf / "tiny")
    declare(folder, scores={"tiny": {"recall@1": 1.0, "recall@5": 1, "recall@10": 1, "gallery": 3}},
            text={"context_length": 4, "prefix": "a ", "pad_token_id": 0,
                  "padding": "context_length"})  # fmt: skip
    good = json.loads((folder / "encoder.json").read_text())
    chance = random.Random(4)
    every = [(at, value) for at in places(good) for value in HOSTILE]
    image = Image.new("RGB", (9, 7), (200, 10, 10))
    served = 0
    for at, value in chance.sample(every, 250):
        (folder / "encoder.json").write_text(json.dumps(changed(good, at, value)))
        try:
            encoder = OnnxEncoder(folder, threads=1)
            vectors = encoder.encode_images([image])
            texts = encoder.encode_texts(["red", "red red red red red. green " * 30, ""])
        except EncoderError as error:
            assert "\n" not in str(error), (at, value)
        else:
            served += 1
            assert np.isfinite(vectors).all() and np.isfinite(texts).all(), (at, value)
        (one,) = (one for one in list_encoders(shelf) if one.name == "tiny")
        assert isinstance(one.recalls, str)
    assert served
