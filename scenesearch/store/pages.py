"""Reading a whole collection while others go on using it.

Of an embedded collection one process at a time has the lock, in turns. Whoever reads it from end
to end loses its turn between two pages, or while it works on one, when somebody waits: a search in
another process waits for a turn and not for the end. Here is the patience to be next again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from scenesearch.runtime.cancel import pause
from scenesearch.store.base import IndexBusy, Point, VectorStore

PAGE = 2000  # 4 MB of 512-d vectors: 0.1 s to read

# How long an embedded collection may be in somebody's use before reading it is given up.
PATIENCE_S = 600.0

# Between two tries of a store that does not wait.
_PAUSE_S = 0.1

OnWait = Callable[[str], None]
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
    """Every point of the collection in pages; it is let go at the end.

    `on_wait` hears once per wait, in a sentence, who else has the collection; raises IndexBusy
    when it is not free within `patience_s`.
    """
    after: str | None = None
    try:
        while True:
            page = shared(
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
            yield page
            after = page[-1].image_id
    finally:
        store.release(collection)


def shared(
    do: Callable[[], _T],
    *,
    patience_s: float = PATIENCE_S,
    on_wait: OnWait | None = None,
) -> _T:
    """What `do` returns, once nobody else keeps the collection or works on it."""
    deadline = time.monotonic() + patience_s
    told = False
    while True:
        try:
            return do()
        except IndexBusy as busy:
            if time.monotonic() > deadline:
                raise
            if not told and on_wait is not None:
                on_wait(f"{str(busy).removesuffix('; close it or wait')}; waiting")
            told = True
            pause(_PAUSE_S)
