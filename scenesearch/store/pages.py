"""Reading a whole collection while others go on using it.

Of an embedded collection one process at a time has the lock. Whoever reads it from end to end
lets it go after each page, and waits where somebody else has it, so that a search in another
process waits for a page and not for the end.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from scenesearch.store.base import IndexBusy, Point, VectorStore

# 4 MB of 512-d vectors: 0.1 s to read, so that opening the collection again stays worth it.
PAGE = 2000

# How long an embedded collection may be in somebody's use before reading it is given up.
PATIENCE_S = 600.0

OnWait = Callable[[IndexBusy], None]
_T = TypeVar("_T")


def pages(
    store: VectorStore,
    collection: str,
    *,
    payload: Sequence[str] | None = None,
    with_vectors: bool = False,
    patience_s: float = PATIENCE_S,
    on_wait: OnWait | None = None,
) -> Iterator[list[Point]]:
    """Every point of the collection in pages, with its lock let go while the caller has one.

    `on_wait` is told once per wait that somebody else has the collection; raises IndexBusy when
    it is not free within `patience_s`.
    """
    after: str | None = None
    while True:
        started_at = after

        def read(after: str | None = started_at) -> list[Point]:
            points = store.scroll(
                collection, payload=payload, with_vectors=with_vectors, batch_size=PAGE, after=after
            )
            return list(islice(points, PAGE))

        page = shared(store, collection, read, patience_s=patience_s, on_wait=on_wait)
        if not page:
            return
        yield page
        after = page[-1].image_id


def shared(
    store: VectorStore,
    collection: str,
    do: Callable[[], _T],
    *,
    patience_s: float = PATIENCE_S,
    on_wait: OnWait | None = None,
) -> _T:
    """What `do` returns, once nobody else has the collection, which is let go afterwards."""
    deadline = time.monotonic() + patience_s
    told = False
    while True:
        try:
            done = do()
        except IndexBusy as busy:
            if time.monotonic() > deadline:
                raise
            if not told and on_wait is not None:
                on_wait(busy)
            told = True
            time.sleep(0.2)
        else:
            store.release(collection)
            return done
