"""The collection that pictures are written to: found, made, its fields declared."""

from collections.abc import Sequence
from datetime import UTC, datetime

from ingest.sources.base import Source
from scenesearch.encoder.base import Encoder, EncoderInfo
from scenesearch.pictures.records import MetadataType, check_library_name
from scenesearch.store.base import (
    CollectionMissing,
    CollectionSpec,
    State,
    StoreError,
    StoreUnavailable,
    VectorStore,
    check_encoder,
)
from scenesearch.store.catalog import next_name
from scenesearch.store.fields import STANDARD_FIELDS, PayloadField, by_name, custom_fields


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


def declare_fields(store: VectorStore, collection: str, sources: Sequence[Source]) -> None:
    """Index the fields that the collection lacks: ours, of a later version, and the sources' own.

    A column that the collection has keeps its type.
    """
    known = by_name(store.describe(collection).fields)
    store.add_fields(collection, [field for field in STANDARD_FIELDS if field.name not in known])
    for source in sources:
        store.add_fields(collection, custom_fields(source.fields))


def declared_types(store: VectorStore, library: str) -> dict[str, MetadataType]:
    """The types of the library's fields, for the tables that are read next; none of a new one."""
    try:
        return {field.name: field.type for field in store.describe(library).fields}
    except CollectionMissing:
        return {}


def existing_collection(store: VectorStore, library: str, encoder: Encoder) -> str:
    """The collection behind the library's alias, '' for none; raises EncoderMismatch."""
    check_library_name(library)
    info = encoder.info
    try:
        spec = store.describe(library)
    except CollectionMissing:
        return ""
    check_encoder(spec, name=info.name, fingerprint=info.fingerprint, dimension=info.dimension)
    return store.resolve(library)


def ensure_collection(store: VectorStore, library: str, encoder: Encoder) -> str:
    """The collection behind the library's alias, made and aliased when the library is new."""
    if collection := existing_collection(store, library, encoder):
        return collection
    info = encoder.info
    # Its name is the same for all workers that begin at this moment: one makes it, the others find
    # it made.
    name = f"{library}-{info.name.lower()}-1"
    try:
        store.create_collection(name, new_spec(library, info, STANDARD_FIELDS))
    except StoreUnavailable:
        raise
    except StoreError:
        there = store.describe(name)
        # One that is being restored is not ours to fill.
        if there.fingerprint != info.fingerprint or there.state != "ready":
            name = next_name(store, library, info.name)
            store.create_collection(name, new_spec(library, info, STANDARD_FIELDS))
    store.set_alias(library, name)
    return existing_collection(store, library, encoder)
