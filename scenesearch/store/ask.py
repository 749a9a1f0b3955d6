"""What a search asks of a store: a vector, a filter, and how to rank what passes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scenesearch.store.filters import Filter

# How many of the nearest `Rescored` ranks again.
RESCORED = 50

# What to subtract from the cosines of pictures, given their embeddings, `(n, dim)` -> `(n,)`.
Penalty = Callable[[NDArray[np.float32]], NDArray[np.float64]]

Fusion = Literal["rrf", "dbsf"]


@dataclass(frozen=True)
class Cosine:
    """By cosine with the vector alone, ties by image id."""


@dataclass(frozen=True)
class Hybrid:
    """By cosine and by the words of captions, tags, title and file name, fused.

    The best by either come first, then the rest by cosine. Where no point has a word of the text
    this is `Cosine`. A collection without words raises StoreError.
    """

    text: str
    fusion: Fusion = "dbsf"


@dataclass(frozen=True)
class Written:
    """By the words of the text that are written in the pictures themselves; no others are hits.

    A collection without words has no hits.
    """

    text: str


@dataclass(frozen=True)
class Rescored:
    """The RESCORED nearest by cosine less a penalty of their own, then the rest by cosine."""

    penalty: Penalty


@dataclass(frozen=True)
class Diverse:
    """By maximal marginal relevance: each hit is near the query and unlike those before it.

    With a diversity of 0 this is `Cosine`; 1 looks at variety alone. The nearest few hundred are
    ranked like this, the rest follow by cosine.
    """

    diversity: float = 0.5


@dataclass(frozen=True)
class Examples:
    """By the sum of cosines with the query and the `right` examples, less those with the `wrong`.

    The query counts as `weight` examples.
    """

    right: Sequence[NDArray[np.float32]] = ()
    wrong: Sequence[NDArray[np.float32]] = ()
    weight: int = 1


RankBy = Cosine | Hybrid | Written | Rescored | Diverse | Examples


@dataclass(frozen=True)
class Ask:
    """The `limit` first points that pass the filter `where`, ranked for the vector, `(dim,)`.

    Those that come by cosine alone reach `min_cosine`, where there is one. `payload` names the keys
    wanted of each hit, all by default. `exact` compares the vectors
    themselves, all of them, without int8 copies or a graph.

    However the hits are ranked, their score is the cosine with the vector, so that relevance
    means the same everywhere. A smaller limit gives the beginning of the same answer.
    """

    vector: NDArray[np.float32]
    limit: int
    where: Filter = ()
    payload: Sequence[str] | None = None
    min_cosine: float | None = None
    exact: bool = False
    rank_by: RankBy = Cosine()

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError(f"the limit of a search cannot be negative: {self.limit}")
