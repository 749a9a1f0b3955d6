"""How a signal ends a command: Ctrl-C, SIGTERM and SIGHUP alike.

The first is raised as KeyboardInterrupt where the command is at work: it keeps what is done, says
so in one sentence and exits with 128 and the signal's number, as the shell has it (130, 143, 129).
A second one, a moment later, ends the process at once; what the store has acknowledged is kept
even then. Wrappers and terminals that close often send two in a row, which count as one.
"""

import os
import signal
import time

TYPE_CHECKING = False  # importing typing takes a moment in which Ctrl-C is not heard yet
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
AS_ONE_S = 0.5

_received: int | None = None
_received_at = 0.0
_told = False


def _interrupt() -> None:
    raise KeyboardInterrupt


_at_first: "Callable[[], object]" = _interrupt


def listen(at_first: "Callable[[], object]" = _interrupt) -> None:
    """From here on signals end the process so; `at_first` is done in the main thread at the first.

    One that the process was told to ignore (`nohup`) stays ignored.
    """
    global _at_first
    _at_first = at_first
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def be_done() -> None:
    """From here on nothing is left to keep, and signals do what the system has them do."""
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == _stop:
            signal.signal(number, signal.SIG_DFL)


def status() -> int:
    """The exit status of a command that was stopped."""
    return 128 + (_received or signal.SIGINT)


def tell() -> bool:
    """Whether the user has yet to be told that a signal came; true once."""
    global _told
    was_told, _told = _told, True
    return _received is not None and not was_told


def note(number: int) -> None:
    """Keep which signal came first, for who ends the work by other means."""
    global _received, _received_at
    if _received is None:
        _received, _received_at = number, time.monotonic()


def _stop(number: int, frame: "FrameType | None") -> None:
    if _received is None:
        note(number)
        _at_first()
    elif time.monotonic() - _received_at > AS_ONE_S:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
