"""Stopping long work from another thread.

Ctrl-C stops a command: Python raises KeyboardInterrupt in the main thread. Other threads, such as
the page's jobs, get no such signal. So each loop that may run for more than a second calls
`check_cancelled`, which raises KeyboardInterrupt there too. The check is stored in a context
variable (`cancelled_by`), so no function has to pass it on.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

# The longest wait between two checks.
CHECK_S: Final = 0.5

_T = TypeVar("_T")
_CHECK: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


def check_cancelled() -> None:
    """Raise KeyboardInterrupt if this thread's work should stop; takes 0.1 microseconds."""
    if (check := _CHECK.get()) is not None:
        check()


@contextmanager
def cancelled_by(check: Callable[[], None]) -> Iterator[None]:
    """Within the block, in this thread, `check_cancelled` calls `check`, which raises to stop."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def cancellable(items: Iterable[_T]) -> Iterator[_T]:
    """The items, with a check before each."""
    for item in items:
        check_cancelled()
        yield item


def sleep(seconds: float) -> None:
    """Sleep, checking at least every half second."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_cancelled()
        time.sleep(min(left, CHECK_S))
    check_cancelled()


def wait_for(future: Future[_T]) -> _T:
    """The future's result, with checks while waiting."""
    while not future.done():
        check_cancelled()
        wait([future], CHECK_S)
    return future.result()
