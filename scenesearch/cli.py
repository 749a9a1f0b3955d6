"""Where the `scenesearch` command begins: light, so that Ctrl-C is heard from the first moment."""

import os
import sys

from scenesearch.runtime import signals

TYPE_CHECKING = False  # importing typing takes a moment in which Ctrl-C is not heard yet
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> "NoReturn":
    """The whole life of the process: a user's mistake is one sentence on stderr and status 2."""
    signals.install_handlers()
    try:
        try:
            from scenesearch.runtime import native_stderr

            native_stderr.start()
            run()
        except SystemExit:
            raise
        except BaseException as error:  # struck while Python compiles, it becomes a SyntaxError
            _ended_by(error)
    except SystemExit as ended:
        signals.restore_defaults()
        _leave(ended)
        raise


def _leave(ended: SystemExit) -> None:
    """End at once where threads are at work that Python would not wait for (the page's, a metrics
    server's): in a library's own code they abort the process when Python ends under them."""
    import atexit
    import threading

    if any(one.daemon for one in threading.enumerate()) and isinstance(ended.code, int):
        atexit._run_exitfuncs()
        _flush()
        os._exit(ended.code)


def run() -> "NoReturn":
    """The command that `sys.argv` names, in a process that goes on when it is done."""
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
    """Say why in one sentence, unless that was said, and exit; a bug keeps its traceback."""
    # Whatever it became on its way through the libraries that it struck in.
    if signals.first_notice() or isinstance(error, KeyboardInterrupt):
        _fail("interrupted", signals.exit_status())
    from scenesearch.commands.console import FAILED, FOUND
    from scenesearch.errors import SceneSearchError, obstacle

    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, SceneSearchError):
        _fail(f"{error}{_hint(error)}", FAILED)
    if isinstance(error, BrokenPipeError):
        # The reader of our output (head, less) has gone; there is nobody to tell.
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
    """Now, where a reader that has gone can be passed over; Python would print a traceback."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _hint(error: Exception) -> str:
    """What to do about it, where the error's own layer cannot know the command."""
    from scenesearch.store.base import CollectionMissing

    if isinstance(error, CollectionMissing) and not error.meant:
        return "; `scenesearch ingest PATH --library NAME` makes a library"
    return ""


if __name__ == "__main__":
    main()
