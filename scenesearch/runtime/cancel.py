"""Long work looks up, since whoever waits for it may have asked it to stop.

A command is stopped by Ctrl-C, which Python raises wherever the main thread is. Work in another
thread, as that of the page, hears of nothing: each loop that may run for more than a second calls
`look_up` on its way, which raises there what Ctrl-C raises here. Nothing is handed through the
functions between: the look is kept for the thread (`watched_by`).
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

# So often at least work looks up.
LOOK_S: Final = 0.5

_T = TypeVar("_T")
_LOOK: ContextVar[Callable[[], None] | None] = ContextVar("look", default=None)


def look_up() -> None:
    """Raise KeyboardInterrupt if this thread's work is to stop; takes 0.1 microseconds."""
    if (look := _LOOK.get()) is not None:
        look()


@contextmanager
def watched_by(look: Callable[[], None]) -> Iterator[None]:
    """Within, in this thread, `look_up` calls `look`, which raises KeyboardInterrupt to stop."""
    token = _LOOK.set(look)
    try:
        yield
    finally:
        _LOOK.reset(token)


def watched(items: Iterable[_T]) -> Iterator[_T]:
    """The items, looking up before each."""
    for item in items:
        look_up()
        yield item


def pause(seconds: float) -> None:
    """Sleep, looking up meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        look_up()
        time.sleep(min(left, LOOK_S))
    look_up()


def result_of(future: Future[_T]) -> _T:
    """What the future gives, looking up until it does."""
    while not future.done():
        look_up()
        wait([future], LOOK_S)
    return future.result()
