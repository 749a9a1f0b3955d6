"""Turns what C and Rust libraries write to stderr into lines of this program's log.

libtiff warns of odd tags, ONNX Runtime of the processor, and a failing library says why before it
ends the process. In a log of JSON documents such lines break the reader. So file descriptor 2
becomes a pipe to a small child process, which writes each line as a sentence or a JSON document. It
is a process and not a thread, so that the last words of a crash are written too. Python's own
`sys.stderr` still writes where it did.

The child also ends this process at a second signal when Python cannot: a library call that never
returns to Python would not be ended by SIGTERM either.
"""

import atexit
import os
import signal
import sys
import time
from contextlib import suppress

from scenesearch.runtime.signals import REPEAT_WINDOW_S

# Control lines on the pipe: write documents, or sentences, from here on. No library writes these.
_AS_JSON, _AS_TEXT = b"\0json", b"\0text"

# How long the process waits at its end for its last lines to be written.
_FLUSH_S = 1.0

# How long Python has to end the process itself.
_GRACE_S = 1.0

# Sent among the signal numbers: the last signal was the first one again.
_REPEATED = b"\0"

_started = False
_signal_pipe = -1


def start() -> None:
    """Call once, before there are threads; does nothing on systems without `fork`."""
    global _started, _signal_pipe
    if _started or not hasattr(os, "fork"):
        return
    try:
        ours = os.dup(2)
        reading, writing = os.pipe()
        signals_out, signals_in = os.pipe()
        child = os.fork()
    except OSError:  # no stderr, or no further process: then nothing changes
        return
    if child == 0:
        try:
            os.close(writing)
            os.close(signals_in)
            _read(reading, ours, signals_out, os.getppid())
        finally:
            os._exit(0)
    os.close(reading)
    os.close(signals_out)
    os.set_blocking(signals_in, False)
    signal.set_wakeup_fd(signals_in, warn_on_full_buffer=False)
    # First ours, for as long as the process lives: a signal between the two writes its sentence.
    sys.stderr = os.fdopen(
        ours, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors
    )
    os.dup2(writing, 2)
    os.close(writing)
    _started, _signal_pipe = True, signals_in
    atexit.register(_end, child)


def use_json(wanted: bool) -> None:
    """Write the lines from here on as JSON documents, or as sentences."""
    if _started:
        with suppress(OSError):
            os.write(2, (_AS_JSON if wanted else _AS_TEXT) + b"\n")


def ignore_repeated_signal() -> None:
    """The last signal was no second one: a server raises the one that ended it once more."""
    if _started:
        with suppress(OSError):
            os.write(_signal_pipe, _REPEATED)


def _end(child: int) -> None:
    with suppress(OSError):
        os.dup2(sys.stderr.fileno(), 2)
        deadline = time.monotonic() + _FLUSH_S
        # Another process that was started from here may hold the pipe for longer.
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.002)


def _read(reading: int, target: int, signals: int, parent: int) -> None:
    """The child's life: until nobody holds the other end of the pipe."""
    import threading

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # it ends when its parent does
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    threading.Thread(target=_watch_signals, args=(signals, parent), daemon=True).start()
    json_wanted = False
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            line = line.rstrip(b"\r\n")
            if line in (_AS_JSON, _AS_TEXT):
                json_wanted = line == _AS_JSON
            elif line.strip():
                text = line.decode("utf-8", "replace")
                os.write(target, (_document(text) if json_wanted else _sentence(text)).encode())


def _watch_signals(signals: int, parent: int) -> None:
    """Kill the parent some time after a second signal; each signal arrives here as one byte."""
    import select

    first: float | None = None
    kill_at: float | None = None
    while True:
        left_s = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        if not select.select([signals], [], [], left_s)[0]:
            if os.getppid() == parent:
                os.kill(parent, signal.SIGKILL)
            return
        if not (numbers := os.read(signals, 64)):
            return
        now = time.monotonic()
        if _REPEATED in numbers:
            kill_at = None
        elif first is None:
            first = now
        elif kill_at is None and now - first > REPEAT_WINDOW_S:
            kill_at = now + _GRACE_S


def _sentence(line: str) -> str:
    printable = "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line
    )
    return f"scenesearch: {printable}\n"


def _document(line: str) -> str:
    import json
    from datetime import UTC, datetime

    document = {
        "level": "WARNING",
        "message": line,
        "event": "library",
        "time": datetime.now(UTC).isoformat(),
    }
    return json.dumps(document, ensure_ascii=False) + "\n"
