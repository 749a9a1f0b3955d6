"""How a signal ends a command: Ctrl-C, SIGTERM and SIGHUP are treated alike.

The first signal raises KeyboardInterrupt. The command keeps what is done, says so in one sentence
and exits with 128 plus the signal's number, as shells do (130, 143, 129). A second signal ends the
process at once; even then the store keeps what it has acknowledged. Wrappers and closing terminals
often send two signals in a row: within half a second they count as one.

Python throws away an exception that is raised in a finalizer or in a weak reference's callback, and
so a KeyboardInterrupt: while modules are imported, that is not rare. It is raised again a moment
later.
"""

import _thread
import os
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing takes a moment in which Ctrl-C is not handled yet
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
REPEAT_WINDOW_S = 0.5
_RAISE_AGAIN_S = 0.05

_received: int | None = None
_received_at = 0.0
_announced = False
_lost = False


def _interrupt() -> None:
    raise KeyboardInterrupt


_at_first: "Callable[[], object]" = _interrupt


def install_handlers(at_first: "Callable[[], object]" = _interrupt) -> None:
    """Handle signals as described above; `at_first` runs in the main thread at the first one.

    A signal that the process was told to ignore (`nohup`) stays ignored.
    """
    global _at_first
    _at_first = at_first
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    sys.unraisablehook = _on_unraisable


def restore_defaults() -> None:
    """Give signals back to the system: nothing is left to keep."""
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == _stop:
            signal.signal(number, signal.SIG_DFL)


def exit_status() -> int:
    """The exit status of a command that was stopped."""
    return 128 + (_received or signal.SIGINT)


def first_notice() -> bool:
    """Whether the user must still be told that a signal came; true once."""
    global _announced
    before, _announced = _announced, True
    return _received is not None and not before


def record(number: int) -> None:
    """Remember the first signal, for code that ends the work by other means."""
    global _received, _received_at
    if _received is None:
        _received, _received_at = number, time.monotonic()


def _stop(number: int, frame: "FrameType | None") -> None:
    global _lost
    if _received is None or _lost:
        _lost = False
        record(number)
        _at_first()
    elif time.monotonic() - _received_at > REPEAT_WINDOW_S:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Called by Python with an exception that it throws away."""
    global _lost
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _lost = True
        _thread.start_new_thread(_raise_again, ())
    else:
        sys.__unraisablehook__(unraisable)


def _raise_again() -> None:
    time.sleep(_RAISE_AGAIN_S)  # until the callback has returned
    # Sent for real, so that a wait ends. The signal on record stays the first.
    os.kill(os.getpid(), signal.SIGINT)
