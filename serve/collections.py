"""The saved collections of a library, with the pictures that whoever asks may see."""

from contextlib import suppress
from functools import partial

from scenesearch.home.collection_members import Members
from scenesearch.home.saved_collections import (
    SavedCollection,
    find_collection,
    read_collections,
)
from scenesearch.search.names import seen
from scenesearch.search.request import QueryError
from serve.keys import Caller
from serve.libraries import Libraries, OpenLibrary
from serve.models import CollectionAnswer, CollectionInfo, CollectionsAnswer, HitAnswer


def members_of(library: OpenLibrary, caller: Caller, collection: SavedCollection) -> Members:
    """Its pictures, of those that are there for the caller."""
    cut = library.installation.settings.min_relevance
    return Members(library.searcher, collection, cut, scope=library.scope(caller))


def collections_of(
    libraries: Libraries, caller: Caller, asked: str | None, *, count: bool
) -> CollectionsAnswer:
    library = libraries.open(caller, asked)
    collections = read_collections(library.files.saved_requests)
    describe = partial(_info, library, caller, count=count)
    return CollectionsAnswer(library=library.name, collections=[*map(describe, collections)])


def collection_answer(
    libraries: Libraries,
    caller: Caller,
    asked: str | None,
    name: str,
    *,
    limit: int,
    after: str | None,
    count: bool,
) -> CollectionAnswer:
    library = libraries.open(caller, asked)
    collection = find_collection(library.files.saved_requests, name)
    hits, following = members_of(library, caller, collection).page(limit, after)
    return CollectionAnswer(
        **_info(library, caller, collection, count=count).model_dump(),
        library=library.name,
        hits=[HitAnswer.model_validate(hit.to_json()) for hit in hits],
        next=following,
    )


def _info(
    library: OpenLibrary, caller: Caller, collection: SavedCollection, *, count: bool
) -> CollectionInfo:
    named = {*collection.added, *collection.excluded, *filter(None, (collection.picture,))}
    if named and (scope := library.scope(caller)):  # ids of others are nothing to be told
        named = set(seen(library.store, library.collection, sorted(named), scope))
    pictures: int | None = None
    if count:
        with suppress(QueryError):  # its request cannot be asked any more
            pictures = members_of(library, caller, collection).count()
    return CollectionInfo(
        name=collection.name,
        request=collection.request,
        min_relevance=collection.min_relevance,
        picture=collection.picture if collection.picture in named else None,
        added=[one for one in collection.added if one in named],
        excluded=[one for one in collection.excluded if one in named],
        pictures=pictures,
    )
