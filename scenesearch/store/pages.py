"""Reading a whole collection while others go on using it.

Of an embedded collection one process at a time has the lock. Whoever reads it from end to end
lets it go between two pages when somebody waits for it, or when its own work on a page takes
long, and waits where somebody else has it: a search in another process waits for a page and not
for the end. Opening a collection of 100,000 takes up to a second, so it is not let go for nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from scenesearch.stopping import pause
from scenesearch.store.base import IndexBusy, Point, VectorStore

PAGE = 2000  # 4 MB of 512-d vectors: 0.1 s to read

# How long an embedded collection may be in somebody's use before reading it is given up.
PATIENCE_S = 600.0

# Work on a page that takes longer is done without the lock.
_SHORT_S = 0.7
# What others get to take the lock in, who ask for it every 0.02 s.
_GAP_S = 0.1

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
    """Every point of the collection in pages; its lock is let go at the end, and as said above.

    `on_wait` is told once per wait that somebody else has the collection; raises IndexBusy when
    it is not free within `patience_s`.
    """
    after: str | None = None
    work_s = 2 * _SHORT_S  # until it is known
    try:
        while True:
            page = shared(
                store,
                collection,
                lambda after=after: list(  # type: ignore[misc]
                    islice(
                        store.scroll(
                            collection,
                            payload=payload,
                            with_vectors=with_vectors,
                            batch_size=PAGE,
                            after=after,
                        ),
                        PAGE,
                    )
                ),
                patience_s=patience_s,
                on_wait=on_wait,
            )
            if not page:
                return
            if work_s > _SHORT_S:
                store.release(collection)
            began = time.monotonic()
            yield page
            work_s = time.monotonic() - began
            after = page[-1].image_id
    finally:
        store.release(collection)


def shared(
    store: VectorStore,
    collection: str,
    do: Callable[[], _T],
    *,
    patience_s: float = PATIENCE_S,
    on_wait: OnWait | None = None,
) -> _T:
    """What `do` returns, once nobody else has the collection; let go where somebody waits."""
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
            pause(_GAP_S)
        else:
            if store.release(collection, if_wanted=True):
                time.sleep(_GAP_S)
            return done
