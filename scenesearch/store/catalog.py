"""Which collections a library has, which one is live, and how to make another one live.

A library's name is an alias for its live collection. Each collection records which one had the
alias before it, so that every machine that uses the store knows where a rollback goes.
"""

import re
from dataclasses import dataclass
from typing import Literal

from scenesearch.store.base import (
    CollectionMissing,
    CollectionSpec,
    CollectionUnfinished,
    StoreError,
    VectorStore,
)

Role = Literal["live", "previous", "ready", "building"]


@dataclass(frozen=True)
class CatalogEntry:
    """A collection of a library: 'live', 'previous' (a rollback goes there), 'ready' or
    'building' (being filled, or left half filled by a run that was stopped)."""

    name: str
    spec: CollectionSpec
    role: Role


@dataclass(frozen=True)
class Catalog:
    """Collections by library, in order of creation; `foreign` ones belong to other programs.

    `unfinished` are (name, library) of collections that a stopped process began to create.
    """

    libraries: dict[str, list[CatalogEntry]]
    foreign: tuple[str, ...] = ()
    unfinished: tuple[tuple[str, str], ...] = ()


def read_catalog(store: VectorStore) -> Catalog:
    """Everything in the store, without reading a point or taking a lock."""
    aliases = store.aliases()
    specs: dict[str, CollectionSpec] = {}
    foreign, unfinished = [], []
    for name in store.collections():
        try:
            specs[name] = store.describe(name)
        except CollectionMissing:  # just deleted
            continue
        except CollectionUnfinished as error:
            unfinished.append((name, error.library))
        except StoreError:  # another program's, or damaged
            foreign.append(name)
    libraries: dict[str, list[CatalogEntry]] = {}
    for name, spec in sorted(specs.items(), key=lambda item: (item[1].created, item[0])):
        live = aliases.get(spec.library)
        libraries.setdefault(spec.library, []).append(
            CatalogEntry(name, spec, _role(name, live, specs))
        )
    return Catalog(dict(sorted(libraries.items())), tuple(foreign), tuple(unfinished))


def collections_of(store: VectorStore, library: str) -> list[CatalogEntry]:
    """The library's collections in order of creation; raises CollectionMissing for none."""
    entries = read_catalog(store).libraries.get(library)
    if not entries:
        store.resolve(library)  # raises it with the store's address
        raise CollectionMissing(library, store.aliases() or store.collections())
    return entries


def promote(store: VectorStore, library: str, collection: str) -> str:
    """Make the collection the library's live one; returns the one before it, '' for none.

    Raises StoreError for another library's collection and for one that is being filled.
    """
    spec = store.describe(collection)
    if spec.library != library:
        raise StoreError(f"{collection} is a collection of library {spec.library}, not {library}")
    if spec.state != "ready":
        raise StoreError(
            f"{collection} is not complete: `scenesearch library build {library} --encoder "
            f"{spec.encoder}` goes on with it"
        )
    previous = store.aliases().get(library, "")
    if previous != collection:
        # Before the alias moves: after a crash in between nobody reads it.
        store.record(collection, previous=previous)
        store.release(collection)
        store.set_alias(library, collection)
    return previous


def next_name(store: VectorStore, library: str, encoder: str) -> str:
    """A name with the number after the highest of the library's collections of this encoder."""
    stem = f"{library}-{encoder.lower()}"
    found = (re.fullmatch(re.escape(stem) + r"-(\d+)", name) for name in store.collections())
    return f"{stem}-{1 + max((int(match[1]) for match in found if match), default=0)}"


def rollback_target(store: VectorStore, library: str) -> str:
    """The collection that a rollback makes live; raises StoreError when there is none."""
    live = store.resolve(library)
    previous = store.describe(library).previous
    if not previous:
        raise StoreError(f"{live} has replaced no other collection: there is nothing to go back to")
    if previous not in store.collections():
        raise StoreError(f"{previous}, which {live} replaced, has been deleted")
    return previous


def _role(name: str, live: str | None, specs: dict[str, CollectionSpec]) -> Role:
    if name == live:
        return "live"
    if live is not None and live in specs and specs[live].previous == name:
        return "previous"
    return "building" if specs[name].state == "building" else "ready"
