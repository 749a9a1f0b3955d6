"""The vector store's contract: collections of points behind aliases, in two homes.

`EdgeStore` embeds Qdrant's engine in the process, `ServerStore` talks to a Qdrant server. Both
behave alike; one suite of contract tests runs over both.
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

# So many libraries are named where one is not there.
_NAMED = 12


class StoreError(SceneSearchError):
    """Something a store could not do; the message is one sentence for the user."""


class CollectionMissing(StoreError):  # noqa: N818 - reads as what it is
    """No library, or collection of one, has that name; the message names the libraries there are
    (where none is live, the collections), and the nearest.

    `at` says which store was asked, where there may be several.
    """

    def __init__(self, name: str, libraries: Collection[str] = (), *, at: str = "") -> None:
        known = sorted(libraries)
        more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
        there = f"there are: {', '.join(known[:_NAMED])}{more}" if known else "there are none yet"
        place = f" at {at}" if at else ""
        self.meant = did_you_mean(name, known)
        super().__init__(f"no library {name!r}{place}; {there}{self.meant}")


class IndexBusy(StoreError):  # noqa: N818
    """Another process holds the embedded collection; the message names it."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store cannot be reached or answered with a fault; trying again later may help."""


class CollectionUnfinished(StoreError):  # noqa: N818
    """Another process is making the collection, or was stopped while it did."""

    def __init__(self, name: str, library: str) -> None:
        super().__init__(
            f"collection {name} is unfinished: it is being made, or who made it was stopped; "
            f"`scenesearch library prune {library or 'LIBRARY'} --unfinished` deletes it"
        )
        self.library = library


class NoRoom(StoreUnavailable):
    """The disk has too little room for what was to be written; nothing of it was."""


class EncoderMismatch(StoreError):  # noqa: N818
    """The collection holds another encoder's vectors."""


State = Literal["ready", "building"]

MOST_DIMENSIONS = 65536


# How payloads and vectors are laid out. It grows when a version could not read, or would
# misread, what this one writes; tests/data keeps a library of each.
LAYOUT = 1


@dataclass(frozen=True)
class CollectionSpec:
    """What a collection records of itself, fixed when it is made but for what is said below.

    Fields may be added. `words` says that points carry the words of their payload too, for
    hybrid search; collections made before there were any go on without. `state` is 'building'
    while the collection is being filled, and nobody's to promote. `previous` is the collection
    that this one took the alias from, what a rollback goes back to. Collections of earlier
    versions have no `image_fingerprint` and no `created` (RFC 3339). `layout` says how payload
    and vectors are laid out; `from_json` brings an earlier one up to this version's.
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
    layout: int = LAYOUT

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"fields": [field.to_json() for field in self.fields]}

    def changed(self, *, state: State | None, previous: str | None) -> "CollectionSpec":
        """With what is given in the place of what was."""
        return replace(
            self,
            state=self.state if state is None else state,
            previous=self.previous if previous is None else previous,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "CollectionSpec":
        """What was recorded; raises StoreError for what a newer version made, ValueError for what
        is no specification: a store may hold what others wrote, and its names become folders."""
        try:
            layout = int(value.get("layout", 1))
            if layout > LAYOUT:
                raise StoreError(
                    f"library {value['library']} was made by a newer scenesearch (layout {layout}, "
                    f"this one knows {LAYOUT}): upgrade scenesearch, or build the library again"
                )
            spec = cls._read(value)
            check_library_name(spec.library)
        except (AttributeError, KeyError, TypeError, OverflowError, LibraryNameError) as error:
            raise ValueError(f"no specification: {first_line(error)}") from None
        texts = (spec.encoder, spec.fingerprint, spec.image_fingerprint, spec.created)
        if not all(isinstance(text, str) for text in (*texts, spec.previous)):
            raise ValueError("no specification: a name is no text")
        if spec.state not in get_args(State) or not 0 < spec.dimension <= MOST_DIMENSIONS:
            raise ValueError("no specification: an impossible state or dimension")
        return spec

    @classmethod
    def _read(cls, value: Mapping[str, Any]) -> "CollectionSpec":
        return cls(
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


# Collections and aliases become folder names in one home and parts of a URL in the other.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(name: str) -> str:
    """Return the name, or raise StoreError: it cannot be a collection's or an alias's."""
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} cannot name a collection: use 1-128 of letters, digits, '.', '-' and '_', "
            "beginning with a letter or digit"
        )
    return name


def check_encoder(spec: CollectionSpec, *, name: str, fingerprint: str, dimension: int) -> None:
    """Raise EncoderMismatch unless the collection's vectors are this encoder's.

    Its weights decide (the fingerprint), not its name: an encoder folder may be renamed.
    """
    if spec.fingerprint == fingerprint and spec.dimension == dimension:
        return
    use = (
        f"--encoder {spec.encoder}"
        if spec.encoder != name
        else f"the {name} encoder of fingerprint {spec.fingerprint[:8]}"
    )
    raise EncoderMismatch(
        f"library {spec.library} holds {spec.dimension}-d vectors of encoder {spec.encoder} "
        f"({spec.fingerprint[:8]}); this encoder is {name} ({fingerprint[:8]}, {dimension}-d). "
        f"Use {use}, or ingest into another library."
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
    """An answer of a search: cosine similarity and payload.

    A tuple, made in half the time of a frozen dataclass: an evaluation makes millions.
    """

    image_id: str
    score: float
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Leftover:
    """What a stopped process has left in the store; an 'alias' leads nowhere."""

    kind: Literal["alias", "folder", "lock", "collection"]
    name: str


class VectorStore(Protocol):
    """Collections of points; wherever `name` is taken, a collection or an alias will do.

    Every method may raise StoreUnavailable; those that take a name CollectionMissing, and the
    embedded home IndexBusy.
    """

    # Requests that had to be repeated so far: the server was away, busy or slow.
    retried: int

    def create_collection(self, name: str, spec: CollectionSpec) -> None:
        """Make an empty collection with cosine distance and every field indexed."""

    def describe(self, name: str) -> CollectionSpec:
        """What the collection recorded when it was made, with fields added since."""

    def add_fields(self, name: str, fields: Sequence[PayloadField]) -> None:
        """Declare and index further payload fields; those already declared are left alone.

        Raises StoreError when a field is declared with another type.
        """

    def record(
        self, name: str, *, state: State | None = None, previous: str | None = None
    ) -> CollectionSpec:
        """Change what is given in the collection's specification; returns the new one."""

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""

    def delete_collection(self, name: str) -> None:
        """Delete a collection (not an alias) with its points; aliases to it go too."""

    def set_alias(self, alias: str, collection: str) -> None:
        """Point the alias at the collection, atomically."""

    def aliases(self) -> dict[str, str]:
        """Alias -> collection."""

    def resolve(self, name: str) -> str:
        """The collection behind a name; raises CollectionMissing."""

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        """Write points (each with its vector) by image id; returns when they are acknowledged."""

    def delete(self, name: str, image_ids: Sequence[str]) -> None:
        """Remove points; unknown ids are ignored."""

    def retrieve(
        self, name: str, image_ids: Sequence[str], *, with_vectors: bool = False
    ) -> dict[str, Point]:
        """The points there are, by image id."""

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
        """Every point that fits, in a stable order; `payload` names the keys wanted.

        `after` goes on behind that picture, there or not, in the same order.
        """

    def search(self, name: str, ask: Ask) -> list[ScoredPoint]:
        """The best points for what is asked, ties by image id."""

    def count(self, name: str, *, where: Filter = ()) -> int:
        """Exact number of points that fit."""

    def facet(
        self, name: str, field: str, *, where: Filter = (), limit: int = 100
    ) -> list[tuple[str | int | bool, int]]:
        """Values of a keyword, integer or boolean field with their counts, most frequent first."""

    def flush(self, name: str) -> None:
        """Return when everything written is safe against power loss."""

    def optimize(self, name: str) -> None:
        """Build what large collections need for fast search; may take long."""

    def release(self, name: str, *, if_wanted: bool = False) -> bool:
        """Let other processes have the collection until it is used here again.

        By its alias, a library's other collections that are open here are let go too. With
        `if_wanted`, only when another process waits for it and this one's turn is over; returns
        whether it was let go. The embedded home gives up its lock, which it also does by itself
        between two operations and when idle; a server has none, and nothing happens.
        """

    def working_on(self, name: str, *, wait_s: float | None = None) -> AbstractContextManager[None]:
        """Keep others from changing the collection step by step meanwhile, or deleting it.

        For an ingest or a build, whose steps others may read between, and for who compares the
        collection with what lies beside it. The embedded home raises IndexBusy when another does
        so for `wait_s`, by default as long as for any lock; a server has nothing of the kind.
        """

    def leftovers(self, *, remove: bool = False) -> list[Leftover]:
        """What stopped processes have left and nobody uses; with `remove`, all but aliases go."""

    def health(self) -> str:
        """One line on the engine and its version; raises StoreUnavailable."""

    def close(self) -> None:
        """Flush and release everything; the store is of no use afterwards."""
