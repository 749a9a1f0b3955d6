"""What libraries in C and Rust write to stderr themselves, as lines of this program's log.

libtiff warns of a picture's odd tags, ONNX Runtime of a processor, a library that gives up says why
before it ends the process. In a log of JSON documents that is noise that breaks its reader. So
file descriptor 2 becomes a pipe to a small process of its own, which writes each line as a sentence
or a JSON document; it is a process, and no thread, so that the last words of one that crashes are
heard. Python's own `sys.stderr` goes on writing where it wrote.

The same process ends this one at a second signal where Python cannot: a call of a library that
never returns to Python would not be ended by SIGTERM either.
"""

import atexit
import os
import signal
import sys
import time
from contextlib import suppress

from scenesearch.runtime.signals import AS_ONE_S

# Said between two lines: from here on documents, or sentences. No library writes such a line.
_AS_JSON, _AS_TEXT = b"\0json", b"\0text"

# How long the end of the process waits for its last words to be written.
_LAST_WORDS_S = 1.0

# How long Python has to end the process itself.
_PYTHONS_TURN_S = 1.0

# Told among the numbers of signals: the last one was the first one again.
_AGAIN = b"\0"

_begun = False
_telling = -1


def begin() -> None:
    """To be called once, before there are threads; does nothing where there is no `fork`."""
    global _begun, _telling
    if _begun or not hasattr(os, "fork"):
        return
    try:
        ours = os.dup(2)
        reading, writing = os.pipe()
        told, telling = os.pipe()
        child = os.fork()
    except OSError:  # no stderr, or no process more: then it goes where it went
        return
    if child == 0:
        try:
            os.close(writing)
            os.close(telling)
            _read(reading, ours, told, os.getppid())
        finally:
            os._exit(0)
    os.close(reading)
    os.close(told)
    os.set_blocking(telling, False)
    signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = os.fdopen(  # for as long as the process lives
        ours, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors
    )
    _begun, _telling = True, telling
    atexit.register(_end, child)


def as_json(wanted: bool) -> None:
    """What is heard from here on is written as JSON, or as sentences."""
    if _begun:
        with suppress(OSError):
            os.write(2, (_AS_JSON if wanted else _AS_TEXT) + b"\n")


def same_signal() -> None:
    """The last signal was no second one: a server raises the one that ended it once more."""
    if _begun:
        with suppress(OSError):
            os.write(_telling, _AGAIN)


def _end(child: int) -> None:
    with suppress(OSError):
        os.dup2(sys.stderr.fileno(), 2)
        deadline = time.monotonic() + _LAST_WORDS_S
        # Another process that was started from here may have the pipe for longer.
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.002)


def _read(reading: int, target: int, told: int, parent: int) -> None:
    """The reader's life: until nobody has the pipe any more."""
    import threading

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # it ends with whom it reads
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    threading.Thread(target=_listen, args=(told, parent), daemon=True).start()
    json_wanted = False
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            line = line.rstrip(b"\r\n")
            if line in (_AS_JSON, _AS_TEXT):
                json_wanted = line == _AS_JSON
            elif line.strip():
                text = line.decode("utf-8", "replace")
                os.write(target, (_document(text) if json_wanted else _sentence(text)).encode())


def _listen(told: int, parent: int) -> None:
    """Kill the parent some time after a second signal; each arrives here as a byte, at once."""
    import select

    first: float | None = None
    ends: float | None = None
    while True:
        left_s = None if ends is None else max(0.0, ends - time.monotonic())
        if not select.select([told], [], [], left_s)[0]:
            if os.getppid() == parent:
                os.kill(parent, signal.SIGKILL)
            return
        if not (numbers := os.read(told, 64)):
            return
        now = time.monotonic()
        if _AGAIN in numbers:
            ends = None
        elif first is None:
            first = now
        elif ends is None and now - first > AS_ONE_S:
            ends = now + _PYTHONS_TURN_S


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
