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
from scenesearch.store.fields import BUILTIN_FIELDS, LONGEST_WRITTEN
from scenesearch.store.payload import key_path, rfc3339
from scenesearch.store.ranking import EngineQuery, EngineRankBy, answer
from scenesearch.store.values import checks_of, misfit
from scenesearch.store.written import (
    MOST_LINES,
    WrittenLine,
    tokens_of,
    words_of,
    written_lines,
    written_payload,
)

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
    with pytest.raises(EncoderMismatch) as mismatch:
        check_encoder(SPEC, name="lite", fingerprint="00000000", dimension=512)
    assert str(mismatch.value) == (
        "library photos holds 512-d vectors of encoder lite (ab12cd34); this encoder is lite "
        "(00000000, 512-d). Leave --encoder out to use its own, or bring it over with `scenesearch "
        "library build photos` and this encoder, then `scenesearch library promote photos`."
    )


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


@pytest.mark.parametrize(
    "places",
    [
        "x",
        [7],
        [{"box": [0.0] * 7, "confidence": 0.9}],
        [{"box": [0.0] * 7 + [1.5], "confidence": 0.9}],
        [{"box": [0.0] * 7 + [float("nan")], "confidence": 0.9}],
        [{"box": ["0"] * 8, "confidence": 0.9}],
        [{"box": [0.0] * 8, "confidence": True}],
        [{"box": [0.0] * 8, "confidence": 0.9, "more": 1}],
        [{"box": [0.0] * 8, "confidence": 0.9}] * (MOST_LINES + 1),
    ],
)
def test_places_of_text_are_checked(places: object) -> None:
    payload = {"text": "NO PARKING", "text_lines": places}
    assert misfit(payload, checks_of(BUILTIN_FIELDS)) == "text_lines"
    assert written_lines(payload) == []


def test_text_in_a_picture_survives_storing() -> None:
    lines = [WrittenLine("NO", (0.0, 0.5) * 4, 0.9), WrittenLine("PARKING", (0.25, 1.0) * 4, 1.0)]
    payload = written_payload(lines, 1)
    assert misfit(payload, checks_of(BUILTIN_FIELDS)) is None
    assert written_lines(payload) == lines
    assert written_payload([], 1) == {"text_version": 1}
    endless = {"text": "x" * (LONGEST_WRITTEN + 1)}
    assert misfit(endless, checks_of(BUILTIN_FIELDS)) == "text"


@pytest.mark.parametrize(
    ("text", "words", "tokens"),
    [
        ("Café ÉTÉ, 12.50", ["cafe", "ete", "12", "50"], ["cafe", "ete", "12", "50"]),
        ("禁止停车 A1", ["禁止停车", "a1"], ["禁止", "止停", "停车", "a1"]),
        ("한국어", ["한국어"], ["한국어"]),
    ],
)
def test_words_of_a_text_in_any_script(text: str, words: list[str], tokens: list[str]) -> None:
    assert words_of(text) == words
    assert tokens_of(text) == tokens
