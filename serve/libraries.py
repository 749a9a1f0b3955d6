"""The libraries of a server, open to be searched: one store, an encoder for each kind of vectors.

All methods wait for the store or an encoder; they are called in worker threads.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import TypeVar

from scenesearch.encoder.text_cache import TextEmbeddingCache
from scenesearch.home.installation import Installation
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.prometheus import TimedEncoder
from scenesearch.pictures.records import LIBRARY_NAME, check_library_name
from scenesearch.runtime.events import LOGGER
from scenesearch.search.filtering import KeywordValues, conditions_of
from scenesearch.search.grammar import parse_where
from scenesearch.search.names import seen
from scenesearch.search.request import FieldFilter, FilterGroup, QueryError, RequestFilter
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import (
    CollectionMissing,
    CollectionSpec,
    Point,
    StoreError,
    StoreUnavailable,
    VectorStore,
)
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter
from serve.encoding import SharedEncoder
from serve.keys import Caller, KeysError
from serve.problems import Refused, not_found

# For so long a library is taken to be as it was: which collection, which fields, how large.
_FRESH_S = 2.0

# After a change of the pictures, what searchers remember of values is read anew within this time.
_SETTLED_S = 6.0

# How long an embedded library that another process keeps is waited for.
LOCK_WAIT_S = 10.0

# Encoders in memory at a time, and searchers.
_MOST_ENCODERS = 3
_MOST_SEARCHERS = 64

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True)
class OpenLibrary:
    """One library as it is now, ready to be searched."""

    name: str
    collection: str
    spec: CollectionSpec
    store: VectorStore
    encoder: SharedEncoder
    searcher: Searcher
    values: KeywordValues
    installation: Installation
    pictures_version: str
    settled_at: float

    @property
    def fields(self) -> tuple[PayloadField, ...]:
        return self.searcher.fields

    @property
    def files(self) -> LibraryFiles:
        return self.installation.files(self.name)

    def scope(self, caller: Caller) -> Filter:
        """The conditions that pictures must pass to be there for this caller."""
        if not caller.where:
            return ()
        try:
            filters = _filters_of(caller, self.name, self.fields)
        except KeysError as error:
            # Without its filter the key would see everything, so it sees nothing.
            LOGGER.error("%s", error, extra={"event": "keys"})
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"the filter of key {caller.name} does not fit library {self.name}",
            ) from None
        presence = self.installation.presence
        conditions, _ = conditions_of(
            filters, self.fields, self.values.of, lambda: presence(self.name)
        )
        return conditions

    def picture(self, image_id: str, scope: Filter, *, with_vector: bool = False) -> Point:
        """The picture of this id; for pictures outside the scope the same as for none."""
        found = self.pictures([image_id], scope, with_vectors=with_vector)
        return found[image_id]

    def pictures(
        self, image_ids: Sequence[str], scope: Filter, *, with_vectors: bool = False
    ) -> dict[str, Point]:
        """The pictures of these ids; refused if one is not there."""
        wanted = list(dict.fromkeys(image_ids))
        found = seen(self.store, self.collection, wanted, scope, with_vectors=with_vectors)
        for image_id in wanted:
            if image_id not in found:
                raise not_found(f"library {self.name} has no picture {image_id[:200]}")
        return found

    def version(self) -> str | None:
        """Changes when an answer may: with the pictures, the folders that are away, and the day,
        from which 'last-year' counts. None for a moment after a change, in which an answer may
        still be one of before."""
        version = self.store.version(self.collection)
        if version != self.pictures_version or time.monotonic() < self.settled_at:
            return None
        presence = self.installation.presence(self.name)
        parts = (
            version,
            self.spec.fingerprint,
            sorted(presence.away),
            date.today().isoformat(),
            self.installation.settings.min_relevance,
        )
        return repr(parts)


def _filters_of(
    caller: Caller, library: str, fields: Sequence[PayloadField]
) -> tuple[RequestFilter, ...]:
    """The filter of the caller's key; raises KeysError where it could let something through."""
    try:
        filters = parse_where([caller.where], fields)
    except QueryError as error:
        raise KeysError(
            f"the filter of key {caller.name} does not fit library {library}: {error}"
        ) from None
    for one in _left_out(filters):
        # Such a value is looked up among those that there are. A new one, or one of very many,
        # would be let through.
        raise KeysError(
            f"the filter of key {caller.name} leaves out {one.field}:{','.join(one.values)}, "
            f"which may mean several values: write -{one.field}=VALUE"
        )
    return filters


def _left_out(filters: Iterable[RequestFilter], *, negated: bool = False) -> Iterator[FieldFilter]:
    """The filters whose values are looked up, and whose pictures are left out."""
    for one in filters:
        if isinstance(one, FilterGroup):
            yield from _left_out(one.filters, negated=negated != one.negated)
        elif one.condition is None and one.operator != "is" and one.negated != negated:
            yield one


class Libraries:
    """The libraries that a server offers: those `named`, or all of the store. The first of them,
    or else that of the settings, is asked where a request names none."""

    def __init__(self, installation: Installation, named: Sequence[str] = ()) -> None:
        self.installation = installation
        self.named = tuple(check_library_name(name) for name in named)
        self.default = self.named[0] if self.named else installation.library_name()
        reading = installation.settings.api_read_only
        self.store = installation.open_store(reading=reading, lock_wait_s=LOCK_WAIT_S)
        self._guard = threading.Lock()
        self._loading = threading.Lock()
        self._now: dict[str, tuple[OpenLibrary, float]] = {}
        self._encoders: OrderedDict[str, tuple[SharedEncoder, TextEmbeddingCache]] = OrderedDict()
        self._searchers: OrderedDict[tuple[object, ...], Searcher] = OrderedDict()

    def name(self, caller: Caller, asked: str | None) -> str:
        """The library that a request is about, whether or not it exists; one that the caller may
        not see is refused as one that is not there."""
        name = check_library_name(asked or self._default_of(caller))
        if not caller.sees(name) or (self.named and name not in self.named):
            raise self._missing(caller, name)
        return name

    def open(self, caller: Caller, asked: str | None) -> OpenLibrary:
        """The library that a request is about; refused where it is not there for the caller."""
        name = self.name(caller, asked)
        try:
            return self._open(name)
        except CollectionMissing:
            raise self._missing(caller, name) from None

    def check(self, callers: Sequence[Caller]) -> None:
        """Raise KeysError for the filter of a key that does not fit a library; one that cannot be
        read now is asked later."""
        for caller in callers:
            for name in self.visible(caller) if caller.where else ():
                with suppress(StoreError):
                    _filters_of(caller, name, self.store.describe(name).fields)

    def visible(self, caller: Caller) -> list[str]:
        """The names of the libraries that are there for the caller."""
        there = self.named or sorted(filter(LIBRARY_NAME.fullmatch, self.store.aliases()))
        return [name for name in there if caller.sees(name)]

    def described(self, caller: Caller) -> Iterator[tuple[str, CollectionSpec]]:
        """The libraries that are there for the caller, as they record themselves."""
        for name in self.visible(caller):
            try:
                yield name, self.store.describe(name)
            except StoreUnavailable:
                raise
            except StoreError:  # just deleted, another program's, or damaged
                continue

    def _default_of(self, caller: Caller) -> str:
        if caller.libraries is None or self.default in caller.libraries:
            return self.default
        return min(caller.libraries)

    def _missing(self, caller: Caller, name: str) -> Refused:
        there = ", ".join(self.visible(caller)[:12]) or "none"
        return not_found(f"no library {name!r}; there are: {there}")

    def _open(self, name: str) -> OpenLibrary:
        with self._guard:
            opened, read_at = self._now.get(name, (None, 0.0))
        if opened is not None and time.monotonic() - read_at < _FRESH_S:
            return opened
        read_at = time.monotonic()
        spec, collection = self.store.describe(name), self.store.resolve(name)
        if spec.library != name:  # the name of a collection, such as an earlier one
            raise CollectionMissing(name)
        count = self.store.count(collection)
        encoder, texts = self._encoder(spec)
        searcher = self._searcher(name, collection, spec, count, encoder, texts)
        same = opened is not None and opened.collection == collection
        values = opened.values if opened and same else KeywordValues(self.store, collection)
        version = self.store.version(collection)
        settled_at = 0.0  # nothing is remembered before the first search
        if opened is not None:
            changed = opened.pictures_version != version
            settled_at = time.monotonic() + _SETTLED_S if changed else opened.settled_at
        opened = OpenLibrary(
            name,
            collection,
            spec,
            self.store,
            encoder,
            searcher,
            values,
            self.installation,
            version,
            settled_at,
        )
        with self._guard:
            self._now[name] = opened, read_at
            if len(self._now) > _MOST_SEARCHERS:
                self._now = {name: self._now[name]}
        return opened

    def _encoder(self, spec: CollectionSpec) -> tuple[SharedEncoder, TextEmbeddingCache]:
        def load() -> tuple[SharedEncoder, TextEmbeddingCache]:
            loaded = self.installation.load_encoder(of=spec)
            shared = SharedEncoder(TimedEncoder(loaded))
            shared.encode_texts(["warm-up"])
            return shared, TextEmbeddingCache(shared)

        return self._kept(self._encoders, spec.fingerprint, load, _MOST_ENCODERS)

    def _searcher(
        self,
        name: str,
        collection: str,
        spec: CollectionSpec,
        count: int,
        encoder: SharedEncoder,
        texts: TextEmbeddingCache,
    ) -> Searcher:
        # Made again when there are new fields, or when the library has doubled, which changes what
        # is unusual in it.
        key = (name, collection, spec.fingerprint, len(spec.fields), count.bit_length())
        return self._kept(
            self._searchers,
            key,
            lambda: self.installation.searcher(encoder, self.store, name, texts=texts),
            _MOST_SEARCHERS,
        )

    def _kept(self, kept: "OrderedDict[_K, _V]", key: _K, make: Callable[[], _V], most: int) -> _V:
        """The value of the key, made once; beyond `most` the least recently used is dropped."""
        with self._guard:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        with self._loading:  # two threads must not both load it
            with self._guard:
                if key in kept:
                    return kept[key]
            made = make()
            with self._guard:
                kept[key] = made
                while len(kept) > most:
                    kept.popitem(last=False)
            return made

    def close(self) -> None:
        self.store.close()
