"""Which collections a library has, which one is live, and how another one becomes it.

A library's name is an alias for its live collection. What a collection took the alias from is
recorded in it, so that every machine that sees the store knows where a rollback leads.
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
    """A collection of a library: 'live', 'previous' (a rollback leads there), 'ready' or
    'building' (being filled, or left so by a run that was stopped)."""

    name: str
    spec: CollectionSpec
    role: Role


@dataclass(frozen=True)
class Catalog:
    """Collections by library, in the order they were made; `foreign` ones are not ours.

    `unfinished` are names with their libraries: of what a stopped process began to make.
    """

    libraries: dict[str, list[CatalogEntry]]
    foreign: tuple[str, ...] = ()
    unfinished: tuple[tuple[str, str], ...] = ()


def read_catalog(store: VectorStore) -> Catalog:
    """Everything in the store; reads no point and takes no lock."""
    aliases = store.aliases()
    specs: dict[str, CollectionSpec] = {}
    foreign, unfinished = [], []
    for name in store.collections():
        try:
            specs[name] = store.describe(name)
        except CollectionMissing:  # deleted meanwhile
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
    """The library's collections in the order they were made; raises CollectionMissing for none."""
    held = read_catalog(store).libraries.get(library)
    if not held:
        store.resolve(library)  # says which libraries there are
        raise CollectionMissing(library, store.aliases() or store.collections())
    return held


def promote(store: VectorStore, library: str, collection: str) -> str:
    """Make the collection the library's live one; returns the one that was, '' for none.

    Raises StoreError for a collection of another library or one that is being filled.
    """
    spec = store.describe(collection)
    if spec.library != library:
        raise StoreError(f"{collection} is a collection of library {spec.library}, not {library}")
    if spec.state != "ready":
        raise StoreError(
            f"{collection} is not complete: `scenesearch library build {library} --encoder "
            f"{spec.encoder}` goes on with it"
        )
    was = store.aliases().get(library, "")
    if was != collection:
        # Before the alias moves: a crash in between leaves a note that nobody reads.
        store.record(collection, previous=was)
        store.release(collection)
        store.set_alias(library, collection)
    return was


def next_name(store: VectorStore, library: str, encoder: str) -> str:
    """The name after the highest number that the library's collections of this encoder have."""
    stem = f"{library}-{encoder.lower()}"
    found = (re.fullmatch(re.escape(stem) + r"-(\d+)", name) for name in store.collections())
    return f"{stem}-{1 + max((int(match[1]) for match in found if match), default=0)}"


def rollback_target(store: VectorStore, library: str) -> str:
    """Where a rollback of the library leads; raises StoreError when it leads nowhere."""
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
