"""The store's small decisions: encoders told apart, ties, names of processes, light imports."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import numpy as np
import pytest

from scenesearch.store.ask import Ask, Cosine
from scenesearch.store.base import (
    CollectionSpec,
    EncoderMismatch,
    StoreError,
    check_encoder,
    check_name,
)
from scenesearch.store.edge_lock import command_words
from scenesearch.store.fields import BUILTIN_FIELDS
from scenesearch.store.payload import key_path, rfc3339
from scenesearch.store.ranking import EngineQuery, EngineRankBy, answer

SPEC = CollectionSpec("photos", "lite", "ab12cd34ffff", 512, BUILTIN_FIELDS)


def test_the_encoder_that_made_the_vectors_passes_even_renamed() -> None:
    check_encoder(SPEC, name="lite", fingerprint="ab12cd34ffff", dimension=512)
    check_encoder(SPEC, name="my-copy", fingerprint="ab12cd34ffff", dimension=512)


def test_another_encoder_is_named_with_what_to_do() -> None:
    with pytest.raises(EncoderMismatch) as mismatch:
        check_encoder(SPEC, name="clip-b32", fingerprint="ef567890aaaa", dimension=768)
    assert str(mismatch.value) == (
        "library photos holds 512-d vectors of encoder lite (ab12cd34); this encoder is clip-b32 "
        "(ef567890, 768-d). Use --encoder lite, or ingest into another library."
    )


def test_another_training_of_the_same_name_is_told_by_its_fingerprint() -> None:
    with pytest.raises(EncoderMismatch, match="Use the lite encoder of fingerprint ab12cd34, or"):
        check_encoder(SPEC, name="lite", fingerprint="00000000", dimension=512)


def test_a_specification_survives_json() -> None:
    assert CollectionSpec.from_json(SPEC.to_json()) == SPEC
    assert replace(SPEC, fields=()).to_json()["fields"] == []


@pytest.mark.parametrize("name", ["photos-lite-1", "a", "A.b_c-9", "x" * 128])
def test_ordinary_names_are_names(name: str) -> None:
    assert check_name(name) == name


def test_field_names_with_dots_are_quoted_for_the_engines() -> None:
    assert key_path("width") == "width"
    assert key_path("photo date.v2") == '"photo date.v2"'
    for name in ("", 'a"b', "a\\b", "a\nb"):
        with pytest.raises(StoreError, match="cannot name a payload field"):
            key_path(name)


def test_moments_are_written_in_utc() -> None:
    assert rfc3339(datetime(2019, 5, 1, 10)) == "2019-05-01T10:00:00Z"
    assert rfc3339(datetime(2019, 5, 1, 10, tzinfo=UTC)) == "2019-05-01T10:00:00Z"
    berlin = timezone(timedelta(hours=2))
    assert rfc3339(datetime(2019, 5, 1, 12, tzinfo=berlin)) == "2019-05-01T10:00:00Z"


def found(image_id: str, score: float) -> SimpleNamespace:
    """A point as an engine finds it."""
    return SimpleNamespace(score=score, payload={"image_id": image_id})


def nearest(limit: int, query: EngineQuery) -> list[str]:
    return [hit.image_id for hit in answer(Ask(np.zeros(512, np.float32), limit), SPEC, query)]


def test_an_engine_is_asked_for_more_only_while_the_cut_runs_through_a_tie() -> None:
    ties = [found(f"{n:03}", 0.5) for n in reversed(range(40))]
    ranked = [found("best", 0.9), *ties, found("last", 0.1)]
    asked: list[int] = []

    def query(rank_by: EngineRankBy, limit: int, with_vectors: bool) -> list[SimpleNamespace]:
        assert (rank_by, with_vectors) == (Cosine(), False)
        asked.append(limit)
        return ranked[:limit]

    assert nearest(1, query) == ["best"]
    assert asked == [9]
    asked.clear()
    assert nearest(3, query) == ["best", "000", "001"]
    assert asked == [11, 67]


def test_a_search_that_finds_nothing_but_ties_ends() -> None:
    asked: list[int] = []

    def query(rank_by: EngineRankBy, limit: int, with_vectors: bool) -> list[SimpleNamespace]:
        asked.append(limit)
        return [found(str(n), 1.0) for n in range(limit)]

    assert len(nearest(5, query)) == 5
    assert asked == [13, 69, 517, 4101]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/venv/bin/scenesearch", "ingest", "/home/me/photos"], "scenesearch ingest"),
        (["/src/scenesearch/cli.py", "search", "a dog"], "scenesearch search"),
        (["/venv/lib/pytest/__main__.py", "-q"], "pytest"),
        (["ui/app.py"], "app"),
        (["-c"], "python"),
        ([""], "python"),
        ([], "python"),
    ],
)
def test_a_process_is_called_by_program_and_verb_without_its_arguments(
    argv: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert command_words() == words


def test_the_embedded_store_does_not_import_the_servers_client() -> None:
    code = (
        "import sys, pathlib, scenesearch.store.open as home\n"
        "home.open_store(edge_dir=pathlib.Path('nowhere'), qdrant_url=None).close()\n"
        "print([m for m in ('qdrant_client', 'grpc', 'torch', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
