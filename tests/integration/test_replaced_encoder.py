"""A library whose encoder is gone, while another one has its name: as after an upgrade."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import scenesearch
from scenesearch.encoder import registry
from scenesearch.encoder.base import EncoderReplaced
from tests.cli import CommandLine
from tests.tiny_encoder import WORD_VECTORS, declare, write_tiny_encoder

COLOURS = {"red": (200, 10, 10), "green": (10, 200, 10), "blue": (10, 10, 200)}

TOLD = (
    "the text side of its own is gone, so it cannot be searched: `scenesearch library build "
    "photos` encodes its originals again, then `scenesearch library promote photos` makes the "
    "result live"
)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    for name in ("LIBRARY", "QDRANT_URL", "MIN_RELEVANCE", "ORIGINALS"):
        monkeypatch.delenv(f"SCENESEARCH_{name}", raising=False)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SCENESEARCH_ENCODER", "tiny")
    monkeypatch.setattr(registry, "_BUNDLED", tmp_path / "bundled")
    write_tiny_encoder(tmp_path / "bundled" / "tiny")
    return CommandLine(monkeypatch, capsys)


def replace_encoder(bundled: Path) -> None:
    """Another encoder of the same name, which squashes pictures differently and for which red is
    green, green is blue, and blue is red: vectors of one and texts of the other never fit."""
    folder = bundled / "tiny"
    shutil.rmtree(folder)
    write_tiny_encoder(folder)
    model = onnx.load(folder / "text.onnx")
    wrong = WORD_VECTORS[[0, 1, 3, 4, 2]].astype(np.float32)
    words = next(one for one in model.graph.initializer if one.name == "words")
    words.CopyFrom(onnx.numpy_helper.from_array(wrong, "words"))
    onnx.save(model, folder / "text.onnx")
    image = {"size": [4, 4], "resize": "squash", "mean": [0, 0, 0], "std": [1, 1, 1]}
    declare(folder, image={**image, "interpolation": "bilinear"})


@pytest.fixture
def old(run: CommandLine, tmp_path: Path) -> Path:
    """Three colours under `photos`, made before the encoder was replaced; their folder."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = ["query_text,images"]
    for name, colour in COLOURS.items():
        Image.new("RGB", (8, 8), colour).save(folder / f"{name}.png")
        rows.append(f"{name},{name}.png")
    (tmp_path / "queries.csv").write_text("\n".join(rows) + "\n")
    assert run("ingest", folder).status == 0
    assert run("library", "backup", "--out", "photos.zip").status == 0
    replace_encoder(tmp_path / "bundled")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("search", "red"),
        ("search", "--like", "red.png"),
        ("ingest", "pictures"),
        ("evaluate", "--library", "photos", "--queries", "queries.csv"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_command_that_needs_the_encoder_says_what_to_do(
    run: CommandLine, old: Path, words: tuple[str, ...]
) -> None:
    ran = run(*words)
    assert ran.status == 2
    assert ran.sentence.startswith("library photos holds vectors of another tiny (")
    assert ran.sentence.endswith(TOLD)


def test_the_new_encoder_is_not_compared_with_old_vectors(run: CommandLine, old: Path) -> None:
    for words in (("search", "red"), ("ingest", old)):
        ran = run(*words, "--encoder", "tiny")
        assert ran.status == 2
        assert "bring it over with `scenesearch library build photos`" in ran.sentence


def test_status_and_doctor_say_what_to_do(run: CommandLine, old: Path) -> None:
    status = run("status", "--json").document
    assert (status["ready"], status["encoder"]["here"]) == (False, False)
    assert status["problems"][0].endswith(TOLD)
    (found,) = run("library", "doctor", "--json").document["findings"]
    assert found["level"] == "wrong"
    assert found["text"].endswith(TOLD)


def test_python_is_told_too(run: CommandLine, old: Path) -> None:
    with pytest.raises(EncoderReplaced, match="cannot be searched"):
        scenesearch.open("photos")


@pytest.mark.slow
def test_a_build_brings_the_library_over(run: CommandLine, old: Path, tmp_path: Path) -> None:
    (old / "red.png").rename(tmp_path / "away.png")
    first = run("library", "build")
    assert first.status == 0
    assert f"not in the new collection: red.png: {old / 'red.png'}: no such file" in first.err
    assert "`scenesearch library promote photos --allow-missing` goes live without" in first.err
    assert first.out.startswith("photos-tiny-2: 2 encoded, 0 copied")
    assert run("search", "red").sentence.endswith(TOLD)  # the old one is live until the promote
    refused = run("library", "promote")
    assert refused.status == 1
    assert "pictures of photos-tiny-1 that are not in it: 1 (red.png)" in refused.err

    (tmp_path / "away.png").rename(old / "red.png")
    assert run("library", "build").out.startswith("photos-tiny-2: 1 encoded, 0 copied, 2 there")
    promoted = run("library", "promote")
    assert "photos-tiny-1 cannot be searched any more" in promoted.err
    assert promoted.out.startswith("photos-tiny-2 is live; `scenesearch library rollback photos`")
    found = run("search", "red", "--json", "--min-relevance", 0).document
    assert found["hits"][0]["image_id"] == "green.png"  # as the new one understands it
    assert run("ingest", old, "--json").document["skipped"] == 3


def test_what_has_changed_is_ingested_after_going_live_without_it(
    run: CommandLine, old: Path
) -> None:
    Image.new("RGB", (8, 8), (250, 250, 10)).save(old / "red.png")
    assert run("library", "build", "--json").document["unusable"][0]["reason"] == (
        "changed since it was ingested"
    )
    assert run("library", "promote", "--allow-missing").status == 0
    assert run("ingest", old, "--json").document["written"] == 1


@pytest.mark.slow
def test_requirements_are_checked_on_the_new_collection_alone(run: CommandLine, old: Path) -> None:
    run("library", "build")
    refused = run("library", "promote", "--queries", "queries.csv", "--require", "recall@1>=0.5")
    assert refused.status == 1
    assert "recall@1 is 0.0000, required >= 0.5" in refused.err
    allowed = run("library", "promote", "--queries", "queries.csv", "--require", "recall@5>=1")
    assert allowed.status == 0


@pytest.mark.slow
def test_a_rollback_to_what_cannot_be_searched_is_told(run: CommandLine, old: Path) -> None:
    run("library", "build")
    run("library", "promote")
    doctor = run("library", "doctor", "--json").document
    assert doctor["well"] is True
    (found,) = doctor["findings"]
    assert (found["level"], found["mend"]) == (
        "advice",
        "scenesearch library prune photos --previous",
    )
    back = run("library", "rollback")
    assert "photos-tiny-1 cannot be searched here" in back.err
    assert "`scenesearch library rollback photos` goes back to photos-tiny-2" in back.err
    assert "photos-tiny-2 is live again" in run("library", "rollback").out


@pytest.mark.slow
def test_a_restored_library_is_brought_over(
    run: CommandLine, old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "elsewhere"))
    restored = run("library", "restore", "photos.zip", "--library", "copy")
    assert "`scenesearch library build copy` encodes its originals again" in restored.err
    assert f"open the originals with SCENESEARCH_ORIGINALS={old}" in restored.err
    assert run("library", "build", "copy", "--json").document["encoded"] == 0
    monkeypatch.setenv("SCENESEARCH_ORIGINALS", str(old))
    assert run("library", "build", "copy", "--json").document["encoded"] == 3
    assert run("library", "promote", "copy").status == 0
    assert run("search", "red", "--library", "copy", "--all").status == 0
