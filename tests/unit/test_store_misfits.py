"""What a store hands out of payloads that did not come from us."""

from typing import Any

import numpy as np
import pytest

from scenesearch.store import payload
from scenesearch.store.ask import Ask, Diverse
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField, custom_fields
from scenesearch.store.values import checks_of, misfit

OWN = custom_fields({"shots": "integer", "sharp": "boolean", "mood": "keyword", "day": "datetime"})
SOUND: dict[str, Any] = {
    "image_id": "a.jpg",
    "path": "/photos/a.jpg",
    "sha256": "ab" * 32,
    "phash": "0f" * 8,
    "folder": ["."],
    "width": 0,
    "size_bytes": 5,
    "orientation": "square",
    "taken": "2020-01-01T00:00:00Z",
    "modified": "2020-01-01T00:00:00.000001+00:00",
    "iso": -5,
    "rating": 100,
    "location": {"lat": -90, "lon": 180.0},
    "captions": ["two\nlines"],
    "title": ["of a manifest", "with two"],
    "own": {"fields": ["taken"], "tags": ["x"]},
    "etag": "5-2020",
    "shots": 3,
    "sharp": True,
    "mood": ["calm", "wide"],
    "day": "2020-01-01",
    "later": {"x": [1, None]},
}
FORGED: list[tuple[str, Any]] = [
    ("image_id", ""), ("image_id", 3), ("path", ["/x"]), ("path", "/a\0b"), ("path", "x" * 200_000),
    ("sha256", "../../x"), ("sha256", "AB" * 32), ("sha256", "ab" * 32 + "\n"), ("sha256", None),
    ("phash", "x"), ("width", -1), ("width", 1.5), ("width", True), ("width", 2**40),
    ("size_bytes", "5"), ("orientation", "round"), ("folder", {}), ("folder", ["a", 1]),
    ("taken", 2020), ("taken", "yesterday"), ("modified", []), ("iso", 2**63), ("iso", "high"),
    ("rating", float("nan")), ("rating", "5"), ("location", {"lat": 91, "lon": 0}),
    ("location", {"lat": 1}), ("location", [1, 2]), ("captions", "red"), ("captions", [None]),
    ("tags", [["x"]]), ("tags", ["x"] * 20_000), ("own", {}), ("own", {"fields": "x"}),
    ("own", {"fields": [], "path": []}), ("etag", 5), ("sidecar", {}), ("shots", "3"),
    ("sharp", 1), ("mood", 5), ("day", "soon"), ("later", [[[[[[[[[[1]]]]]]]]]]), ("later", "a\0"),
]  # fmt: skip


def test_what_we_write_fits() -> None:
    assert misfit(SOUND, checks_of((*BUILTIN_FIELDS, *OWN))) is None


@pytest.mark.parametrize(("name", "value"), FORGED)
def test_what_a_field_cannot_be_does_not_fit(name: str, value: Any) -> None:
    assert misfit(SOUND | {name: value}, checks_of((*BUILTIN_FIELDS, *OWN))) == name


def test_a_collection_cannot_declare_otherwise_what_files_alone_say_and_what_are_lists() -> None:
    theirs = tuple(
        PayloadField(field.name, "integer", field.label)
        for field in BUILTIN_FIELDS
        if field.name in ("sha256", "camera", "captions", "tags")
    )
    checks = checks_of(theirs)
    for name in ("sha256", "captions", "tags"):
        assert misfit({name: 5}, checks) == name
    assert misfit({"camera": 5}, checks) is None  # a column of before there was that field


def test_what_does_not_fit_its_field_is_not_handed_out(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "_payload_of", lambda point: dict(point.payload))
    monkeypatch.setattr(payload, "payload_words", lambda row: None)
    store.create_collection("pets", CollectionSpec("pets", "colour", "c", 4, BUILTIN_FIELDS))
    vector = np.array([1, 0, 0, 0], np.float32)
    rows = [
        {"image_id": "a.jpg", "sha256": "../../x", "width": 3, "tags": "x"},
        {"image_id": 5, "sha256": "ab" * 32},
        {"sha256": "ab" * 32},
    ]
    store.upsert("pets", [Point(f"{n}", vector, row) for n, row in enumerate(rows)])
    expected = {"image_id": "a.jpg", "width": 3}
    assert [dict(point.payload) for point in store.scroll("pets")] == [expected]
    assert [dict(hit.payload) for hit in store.search("pets", Ask(vector, limit=3))] == [expected]
    found = store.search("pets", Ask(vector, limit=3, rank_by=Diverse()))
    assert [dict(hit.payload) for hit in found] == [expected]
    assert store.retrieve("pets", ["0", "1", "2"]).keys() == {"a.jpg"}
