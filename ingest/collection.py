"""Specifications of new collections."""

from collections.abc import Sequence
from datetime import UTC, datetime

from scenesearch.encoder.base import EncoderInfo
from scenesearch.store.base import CollectionSpec, State
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
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        state=state,
    )
