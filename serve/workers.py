"""Threads for the engine, so that the event loop never waits for it.

The embedded engine keeps Python's global lock during a call; more threads do not make it faster,
but while one encodes another asks the store, and texts that wait are encoded together.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import ParamSpec, TypeVar

from scenesearch.runtime.cancel import cancelled_by
from serve.problems import come_back

_Args = ParamSpec("_Args")
_T = TypeVar("_T")

THREADS = 16


class Workers:
    """A pool whose work ends, or is told to, after `timeout_s`."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="serve")

    async def run(self, work: Callable[_Args, _T], *args: _Args.args, **named: _Args.kwargs) -> _T:
        """The result of the work, done in a thread; refuses when it takes too long.

        The work is then cancelled, and ends at its next check (`runtime.cancel`).
        """
        too_late = threading.Event()
        context = contextvars.copy_context()

        def do() -> _T:
            try:
                with cancelled_by(lambda: _check(too_late)):
                    return work(*args, **named)
            except KeyboardInterrupt:  # would end the event loop
                raise self._too_long() from None

        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, context.run, do)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._timeout_s)
        except TimeoutError:
            too_late.set()
            future.add_done_callback(lambda done: done.exception())  # nobody else looks at it
            raise self._too_long() from None

    def _too_long(self) -> Exception:
        return come_back(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the request took more than {self._timeout_s:g} s and was ended",
        )

    def close(self) -> None:
        """Returns once everything begun has ended."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _check(too_late: threading.Event) -> None:
    if too_late.is_set():
        raise KeyboardInterrupt
