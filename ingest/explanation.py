"""Everything known of one picture: where each value came from, what was ignored and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ingest.payload import METADATA_VERSION, picture_payload
from ingest.sidecar import described_by, sidecars_of
from ingest.sources.archives import takeout_beside
from scenesearch.pictures.duplicates import perceptual_hash
from scenesearch.pictures.moments import Moment
from scenesearch.pictures.opening import ImageError, OpenedImage, open_image
from scenesearch.pictures.originals import Original
from scenesearch.pictures.records import GeoPoint
from scenesearch.pictures.statements import (
    LISTS,
    ORDER,
    PictureMetadata,
    Statement,
    sorted_by_order,
)
from scenesearch.store import hand_tags
from scenesearch.store.description import OF_THE_FILE
from scenesearch.store.fields import COMPANIONS
from scenesearch.store.hand_tags import hand_tags_of, table_tags_of

MANIFEST = "manifest"
BY_HAND = "by hand"
_THE_FILE = "the file"
_LIBRARY = "the library"
_BASE = {companion: name for name, further in COMPANIONS.items() for companion in further}
_OF_CAPTIONS = {"captions": "description"}


@dataclass(frozen=True)
class Fact:
    """A value of a field, and where it came from."""

    field: str
    value: Any
    source: str


@dataclass(frozen=True)
class Ignored:
    """What a source said of a field that does not count."""

    field: str
    value: Any
    source: str
    why: str


@dataclass(frozen=True)
class Explanation:
    """What is known of a picture. `away` says why its file could not be read; then only what the
    library holds is known, and not what was ignored."""

    image_id: str
    path: str
    away: str
    facts: Sequence[Fact]
    ignored: Sequence[Ignored]
    notes: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def explain(
    image_id: str,
    original: Original,
    held: Mapping[str, Any] | None,
    *,
    max_megapixels: float = 200,
) -> Explanation:
    """What the file and the library, which holds the payload `held`, say of the picture.

    Raises ImageError when neither knows anything.
    """
    opened: OpenedImage | None = None
    away = ""
    try:
        opened = open_image(original, reduce_to=64, max_megapixels=max_megapixels)
        beside = sidecars_of(original)
        opened = described_by(opened, original.name, beside, takeout_beside(original))
    except ImageError as error:
        if held is None:
            raise
        away = str(error)
    payload = held
    if payload is None and opened is not None:
        payload = picture_payload(image_id, opened, perceptual_hash(opened.image))
    payload = payload or {}
    facts = [
        Fact(name, value, ", ".join(_sources_of(name, value, payload)))
        for name, value in payload.items()
        if name not in ("own", hand_tags.KEY, "metadata_version", "image_id", "path")
    ]
    ignored: list[Ignored] = []
    notes: list[str] = []
    if opened is not None:
        ignored = list(_ignored(opened.metadata, payload))
        notes = list(opened.metadata.notes)
    if held is not None:
        notes += _differences(held, opened)
    return Explanation(image_id, str(original), away, facts, ignored, notes)


def _sources_of(name: str, value: Any, payload: Mapping[str, Any]) -> Iterator[str]:
    own: Mapping[str, Any] = payload.get("own", {"fields": []})
    sources: Mapping[str, str] = own.get("sources", {})
    if name in OF_THE_FILE:
        yield _THE_FILE
    elif name in own["fields"]:
        yield sources.get(_BASE.get(name, name), _THE_FILE)
    elif name == "tags" and (by_hand := hand_tags_of(payload)):
        if table_tags_of(payload):
            yield MANIFEST
        if own.get(name):
            yield sources.get(name, _THE_FILE)
        if by_hand.added:
            yield BY_HAND
    elif name in own:
        if any(text not in own[name] for text in value):
            yield MANIFEST
        yield sources.get(_OF_CAPTIONS.get(name, name), _THE_FILE)
    else:
        yield MANIFEST


def _ignored(metadata: PictureMetadata, payload: Mapping[str, Any]) -> Iterator[Ignored]:
    own = payload.get("own", {"fields": []})
    for name in ORDER:
        for one in metadata.statements:
            if one.field == name and one.value is None:
                yield Ignored(name, None, _source(one), one.why)
        said = sorted_by_order(name, metadata.statements)
        counts = metadata.sources.get(name, "")
        if name in payload and name not in own["fields"] and name not in LISTS:
            for one in said:
                why = f"the {MANIFEST} counts before it"
                yield Ignored(name, _shown(one.value), _source(one), why)
        elif name not in LISTS:
            for one in said:
                if _source(one) != counts:
                    yield Ignored(
                        name, _shown(one.value), _source(one), f"{counts} counts before it"
                    )
    for tag in hand_tags_of(payload).removed:
        yield Ignored("tags", tag, BY_HAND, "it was removed by hand")
    if "modified" in payload:
        why = "copying changes the time of a file; it is kept as 'modified'"
        yield Ignored("taken", payload["modified"], "file time", why)


def _source(one: Statement) -> str:
    return f"{one.source} {one.name}".strip()


def _shown(value: Any) -> Any:
    if isinstance(value, Moment):
        return str(value)
    if isinstance(value, GeoPoint):
        return {"lat": value.latitude, "lon": value.longitude}
    return value


def _differences(held: Mapping[str, Any], opened: OpenedImage | None) -> Iterator[str]:
    if held.get("metadata_version") != METADATA_VERSION:
        yield f"{_LIBRARY} holds what an earlier version read; the next ingest reads it anew"
    if opened is not None and held.get("sha256") != opened.sha256:
        yield "the file has changed since it was ingested; the next ingest reads it anew"
