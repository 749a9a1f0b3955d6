"""How a signal ends a web server that has signal handlers of its own."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from scenesearch.runtime import native_stderr, signals


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """The server closes at SIGINT and SIGTERM and raises them again afterwards; SIGHUP, which it
    does not know, is passed on to it as SIGTERM."""
    signals.install_handlers(lambda: signal.raise_signal(signal.SIGTERM))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        signals.install_handlers()


def _interrupt(number: int, frame: FrameType | None) -> None:
    signals.record(number)
    native_stderr.ignore_repeated_signal()
    raise KeyboardInterrupt
