"""The contract of the vector store: collections of points behind aliases, with two homes.

`EdgeStore` embeds Qdrant's engine in this process, `ServerStore` talks to a Qdrant server. Both
behave alike: one suite of contract tests runs over both.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from scenesearch.errors import SceneSearchError, did_you_mean, first_line
from scenesearch.pictures.records import LibraryNameError, check_library_name
from scenesearch.store.ask import Ask
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter

# How many libraries a message names where the one asked for is missing.
_NAMED = 12


class StoreError(SceneSearchError):
    """Something a store could not do; the message is one sentence for the user."""


class CollectionMissing(StoreError):  # noqa: N818 - reads as what it is
    """No library or collection has that name.

    The message lists the libraries there are (the collections, if no library is live) and
    suggests the nearest. `at` names the store, where there may be several.
    """

    def __init__(self, name: str, libraries: Collection[str] = (), *, at: str = "") -> None:
        known = sorted(libraries)
        more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
        there = f"there are: {', '.join(known[:_NAMED])}{more}" if known else "there are none yet"
        place = f" at {at}" if at else ""
        self.meant = did_you_mean(name, known)
        super().__init__(f"no library {name!r}{place}; {there}{self.meant}")


class IndexBusy(StoreError):  # noqa: N818
    """Another process has the embedded collection open; the message names it."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store cannot be reached or failed; trying again later may help."""


class CollectionUnfinished(StoreError):  # noqa: N818
    """Another process is creating the collection, or was stopped before it was done."""

    def __init__(self, name: str, library: str) -> None:
        super().__init__(
            f"collection {name} is unfinished: another process is creating it, or was stopped "
            f"before it was done; `scenesearch library prune {library or 'LIBRARY'} --unfinished` "
            "deletes it"
        )
        self.library = library


class NoRoom(StoreUnavailable):
    """The disk has too little space for a write; nothing was written."""


class EncoderMismatch(StoreError):  # noqa: N818
    """The collection holds another encoder's vectors."""


State = Literal["ready", "building"]

MOST_DIMENSIONS = 65536

# The version of how payloads and vectors are stored, recorded in each collection under the key
# 'layout'. It grows when an older version of this code could not read, or would misread, what
# this one writes; tests/data keeps a library of each version.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class CollectionSpec:
    """What a collection records about itself.

    Fixed when it is created, except: `fields` may be added, `state` and `previous` change.
    `words` says that each point also has a sparse vector of its payload's words, for hybrid
    search; older collections have none. While `state` is 'building' the collection is being
    filled and cannot be promoted. `previous` is the collection that had the alias before this
    one, where a rollback goes. Collections of early versions have no `image_fingerprint` and no
    `created` (RFC 3339).
    """

    library: str
    encoder: str
    fingerprint: str
    dimension: int
    fields: tuple[PayloadField, ...]
    words: bool = True
    image_fingerprint: str = ""
    created: str = ""
    state: State = "ready"
    previous: str = ""

    def to_json(self) -> dict[str, Any]:
        fields = [field.to_json() for field in self.fields]
        return asdict(self) | {"fields": fields, "layout": FORMAT_VERSION}

    def changed(self, *, state: State | None, previous: str | None) -> "CollectionSpec":
        """A copy with the given values; None leaves a value as it is."""
        return replace(
            self,
            state=self.state if state is None else state,
            previous=self.previous if previous is None else previous,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "CollectionSpec":
        """Read what was recorded.

        Raises StoreError for a newer version's collection and ValueError for anything that is not
        a specification: others may have written to the store, and names become folders.
        """
        try:
            version = int(value.get("layout", 1))
            if version > FORMAT_VERSION:
                raise StoreError(
                    f"library {value['library']} was made by a newer scenesearch (format "
                    f"{version}, this one reads up to {FORMAT_VERSION}): upgrade scenesearch, or "
                    "build the library again"
                )
            spec = cls(
                library=value["library"],
                encoder=value["encoder"],
                fingerprint=value["fingerprint"],
                dimension=int(value["dimension"]),
                fields=tuple(PayloadField.from_json(field) for field in value["fields"]),
                words=bool(value.get("words", False)),
                image_fingerprint=value.get("image_fingerprint", ""),
                created=value.get("created", ""),
                state=value.get("state", "ready"),
                previous=value.get("previous", ""),
            )
            check_library_name(spec.library)
        except (AttributeError, KeyError, TypeError, OverflowError, LibraryNameError) as error:
            raise ValueError(f"not a specification: {first_line(error)}") from None
        texts = (spec.encoder, spec.fingerprint, spec.image_fingerprint, spec.created)
        if not all(isinstance(text, str) for text in (*texts, spec.previous)):
            raise ValueError("not a specification: a name is not text")
        if spec.state not in get_args(State) or not 0 < spec.dimension <= MOST_DIMENSIONS:
            raise ValueError("not a specification: impossible state or dimension")
        return spec


# Collections and aliases become folder names in one home and parts of a URL in the other.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(name: str) -> str:
    """Return the name, or raise StoreError if no collection or alias can have it."""
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} cannot name a collection: use 1-128 of letters, digits, '.', '-' and '_', "
            "beginning with a letter or digit"
        )
    return name


def name_taken(name: str) -> StoreError:
    """The error for creating a collection whose name another collection or an alias has."""
    return StoreError(f"a collection or alias {name!r} already exists")


def check_encoder(spec: CollectionSpec, *, name: str, fingerprint: str, dimension: int) -> None:
    """Raise EncoderMismatch unless the collection's vectors are this encoder's.

    The fingerprint of its weights decides, not its name: an encoder folder may be renamed.
    """
    if spec.fingerprint == fingerprint and spec.dimension == dimension:
        return
    use = (
        f"Use --encoder {spec.encoder}, or ingest into another library."
        if spec.encoder != name
        else "Leave --encoder out to use its own, or bring it over with `scenesearch library build "
        f"{spec.library}` and this encoder, then `scenesearch library promote {spec.library}`."
    )
    raise EncoderMismatch(
        f"library {spec.library} holds {spec.dimension}-d vectors of encoder {spec.encoder} "
        f"({spec.fingerprint[:8]}); this encoder is {name} ({fingerprint[:8]}, {dimension}-d). "
        f"{use}"
    )


@dataclass(frozen=True)
class Point:
    """A picture's embedding (float32, unit length, `(dim,)`) and its JSON-like payload.

    Datetimes in the payload are RFC 3339 strings, places `{"lat": .., "lon": ..}`.
    """

    image_id: str
    vector: NDArray[np.float32] | None
    payload: Mapping[str, Any]


class ScoredPoint(NamedTuple):
    """A hit of a search: its cosine with the query, its payload, and if it was ranked by its cosine
    less a penalty, that.

    A tuple takes half as long to create as a frozen dataclass, and an evaluation creates millions.
    """

    image_id: str
    score: float
    payload: Mapping[str, Any]
    worth: float | None = None


@dataclass(frozen=True)
class Leftover:
    """Something a stopped process left in the store; an 'alias' leads nowhere."""

    kind: Literal["alias", "folder", "lock", "collection"]
    name: str


class VectorStore(Protocol):
    """Collections of points. A `name` is that of a collection or an alias.

    Every method may raise StoreUnavailable; methods that take a name also CollectionMissing, and
    in the embedded home IndexBusy.
    """

    @property
    def retried(self) -> int:
        """How many requests have been repeated because the server was away, busy or slow."""

    def create_collection(self, name: str, spec: CollectionSpec) -> None:
        """Create an empty collection with cosine distance and an index for every field."""

    def describe(self, name: str) -> CollectionSpec:
        """The collection's specification as it is now."""

    def add_fields(self, name: str, fields: Sequence[PayloadField]) -> None:
        """Declare and index more payload fields; those already declared stay as they are.

        Raises StoreError when a field is declared with another type.
        """

    def record(
        self, name: str, *, state: State | None = None, previous: str | None = None
    ) -> CollectionSpec:
        """Change the given values in the collection's specification; returns the new one."""

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""

    def delete_collection(self, name: str) -> None:
        """Delete a collection (not an alias) with its points and the aliases to it."""

    def set_alias(self, alias: str, collection: str) -> None:
        """Point the alias at the collection, atomically."""

    def aliases(self) -> dict[str, str]:
        """Alias -> collection."""

    def resolve(self, name: str) -> str:
        """The collection that a name stands for."""

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        """Write points, which need a vector, by image id; returns once they are acknowledged."""

    def delete(self, name: str, image_ids: Sequence[str]) -> None:
        """Delete points; unknown ids are ignored."""

    def retrieve(
        self, name: str, image_ids: Sequence[str], *, with_vectors: bool = False
    ) -> dict[str, Point]:
        """Those of the points that exist, by image id."""

    def scroll(
        self,
        name: str,
        *,
        where: Filter = (),
        payload: Sequence[str] | None = None,
        with_vectors: bool = False,
        batch_size: int = 1000,
        after: str | None = None,
    ) -> Iterator[Point]:
        """Every point that passes the filter, in a stable order; `payload` names the keys to read.

        With `after`, those that come after that picture in this order; it need not exist.
        """

    def search(self, name: str, ask: Ask) -> list[ScoredPoint]:
        """The best hits for what is asked, ties in order of their image ids."""

    def count(self, name: str, *, where: Filter = ()) -> int:
        """The exact number of points that pass the filter."""

    def facet(
        self, name: str, field: str, *, where: Filter = (), limit: int = 100
    ) -> list[tuple[str | int | bool, int]]:
        """Values of a keyword, integer or boolean field with their counts, most frequent first."""

    def version(self, name: str) -> str:
        """A text that is another one after points were written or deleted, by whichever process.

        The embedded home changes it with every write. With a server it changes with the number of
        points, with every deletion, and at the end of a `flush`.
        """

    def flush(self, name: str) -> None:
        """Return once everything written is safe against power loss."""

    def optimize(self, name: str) -> None:
        """Build what large collections need for fast search; may take long."""

    def release(self, name: str, *, if_wanted: bool = False) -> bool:
        """Let other processes have the collection until it is used here again.

        Given an alias, also release the library's other collections that are open here. With
        `if_wanted`, only when another process is waiting and this one's turn is over. Returns
        whether it was released. The embedded home gives up its lock, as it also does by itself
        between two operations and when idle. A server has no lock, and nothing happens.
        """

    def working_on(self, name: str, *, wait_s: float | None = None) -> AbstractContextManager[None]:
        """Keep others from deleting the collection or changing it in steps in the meantime.

        For an ingest or a build, which let others read between their steps, and for comparing
        the collection with the files beside it. The embedded home raises IndexBusy when another
        process works on it for longer than `wait_s` (by default as for any lock). A server has
        nothing of the kind.
        """

    def leftovers(self, *, remove: bool = False) -> list[Leftover]:
        """What stopped processes left and nobody uses; `remove` deletes all but aliases."""

    def health(self) -> str:
        """One line about the engine and its version; raises StoreUnavailable."""

    def close(self) -> None:
        """Flush and release everything; the store cannot be used afterwards."""
