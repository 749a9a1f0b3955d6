"""Names and specifications of new collections: `<library>-<encoder>-<n>`."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from scenesearch.encoder.base import EncoderInfo
from scenesearch.store.base import CollectionSpec, State, VectorStore
from scenesearch.store.fields import PayloadField


def new_spec(
    library: str, info: EncoderInfo, fields: Sequence[PayloadField], *, state: State = "ready"
) -> CollectionSpec:
    """What a collection made now for this encoder's vectors records of itself."""
    return CollectionSpec(
        library=library,
        encoder=info.name,
        fingerprint=info.fingerprint,
        dimension=info.dimension,
        fields=tuple(fields),
        image_fingerprint=info.image_fingerprint,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        state=state,
    )


def next_name(store: VectorStore, library: str, encoder: str) -> str:
    """The name after the highest number that the library's collections of this encoder have."""
    stem = f"{library}-{encoder.lower()}"
    found = (re.fullmatch(re.escape(stem) + r"-(\d+)", name) for name in store.collections())
    return f"{stem}-{1 + max((int(match[1]) for match in found if match), default=0)}"
