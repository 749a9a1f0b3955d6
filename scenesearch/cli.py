"""Where the `scenesearch` command begins. Light, so that Ctrl-C works from the first moment."""

import os
import sys

from scenesearch.runtime import signals

TYPE_CHECKING = False  # importing typing takes a moment in which Ctrl-C does not work yet
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> "NoReturn":
    """Run the command and exit: a user's mistake is one sentence on stderr and status 2."""
    signals.install_handlers()
    try:
        try:
            from scenesearch.runtime import native_stderr

            native_stderr.start()
            run()
        except SystemExit:
            raise
        except BaseException as error:  # a signal during compilation becomes a SyntaxError
            _ended_by(error)
    except SystemExit as ended:
        signals.restore_defaults()
        _leave(ended)
        raise


def _leave(ended: SystemExit) -> None:
    """End at once if daemon threads are running (the page's, a metrics server's). Python would not
    wait for them, and inside a C library they abort the process when the interpreter ends."""
    import atexit
    import threading

    if any(one.daemon for one in threading.enumerate()) and isinstance(ended.code, int):
        atexit._run_exitfuncs()
        _flush()
        os._exit(ended.code)


def run() -> "NoReturn":
    """Run the command that `sys.argv` names; the process may go on afterwards."""
    try:
        try:
            from scenesearch.commands.app import app

            app()
        except BaseException as error:
            _ended_by(error)
        sys.exit(0)
    finally:
        _flush()


def _ended_by(error: BaseException) -> "NoReturn":
    """Say why in one sentence, unless it was said already, and exit. A bug keeps its traceback."""
    # A signal may surface as any error of the library that it interrupted.
    if signals.first_notice() or isinstance(error, KeyboardInterrupt):
        _fail("interrupted", signals.exit_status())
    from scenesearch.commands.console import FAILED, FOUND
    from scenesearch.errors import SceneSearchError, obstacle

    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, SceneSearchError):
        _fail(f"{error}{_hint(error)}", FAILED)
    if isinstance(error, BrokenPipeError):
        # The reader of our output (head, less) is gone: nobody is left to read a message.
        sys.exit(FOUND)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{obstacle(error) or error.strerror or error}", FAILED)
    if isinstance(error, MemoryError):
        _fail(str(obstacle(error)), FAILED)
    raise error


def _fail(message: str, status: int) -> "NoReturn":
    from scenesearch.commands.console import fail

    try:
        fail(message, status)
    except OSError:  # the terminal is gone
        sys.exit(status)


def _flush() -> None:
    """Flush now, ignoring a reader that is gone; at exit Python would print a traceback."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _hint(error: Exception) -> str:
    """What to do about it: the store does not know the command that helps."""
    from scenesearch.store.base import CollectionMissing

    if isinstance(error, CollectionMissing) and not error.meant:
        return "; `scenesearch ingest PATH --library NAME` makes a library"
    return ""


if __name__ == "__main__":
    main()
