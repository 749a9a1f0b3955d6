"""Reading a whole collection while others go on using it.

Processes take turns at the lock of an embedded collection. A process that reads a collection from
end to end gives up its turn between two pages, or during its work on one, when another process is
waiting: a search elsewhere waits for a turn, not for the end. Then it waits here for its next one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from scenesearch.runtime.cancel import sleep
from scenesearch.store.base import IndexBusy, Point, VectorStore

PAGE = 2000  # 4 MB of 512-d vectors: 0.1 s to read

# How long to wait for an embedded collection that another process uses before giving up.
_PATIENCE_S = 600.0

# Between two tries of a store that does not wait itself.
_PAUSE_S = 0.1

OnWait = Callable[[str], None]
_T = TypeVar("_T")


def pages(
    store: VectorStore,
    collection: str,
    *,
    payload: Sequence[str] | None = None,
    with_vectors: bool = False,
    on_wait: OnWait | None = None,
) -> Iterator[list[Point]]:
    """Every point of the collection in pages; releases the collection at the end.

    `on_wait` receives a sentence once per wait for another process. Raises IndexBusy after ten
    minutes.
    """
    after: str | None = None

    def next_page() -> list[Point]:
        points = store.scroll(
            collection, payload=payload, with_vectors=with_vectors, batch_size=PAGE, after=after
        )
        return list(islice(points, PAGE))

    try:
        while page := retry_while_busy(next_page, on_wait=on_wait):
            yield page
            after = page[-1].image_id
    finally:
        store.release(collection)


def retry_while_busy(do: Callable[[], _T], *, on_wait: OnWait | None = None) -> _T:
    """The result of `do`, repeated while another process has the collection or works on it."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return do()
        except IndexBusy as busy:
            if time.monotonic() > deadline:
                raise
            if on_wait is not None:
                on_wait(f"{str(busy).removesuffix('; close it or wait')}; waiting")
            on_wait = None
            sleep(_PAUSE_S)
