"""Messages and events on stderr: sentences for people, or one JSON document per line.

Only entry points call it.
"""

import logging
import sys
from typing import TYPE_CHECKING

from scenesearch.runtime import native_stderr
from scenesearch.runtime.events import LOGGER

if TYPE_CHECKING:
    from scenesearch.home.settings import Settings

_as_json = False


def configure(settings: "Settings", *, service: bool = False) -> None:
    """Set up logging; a second call replaces the first.

    A service (the page, `ingest --watch`) logs events from `log_level` on, as JSON where stderr
    is no terminal. Any other command already talks to the person who started it, and logs only
    when asked to: with json as format, or at debug level.
    """
    global _as_json
    automatic = settings.log_format == "auto"
    _as_json = settings.log_format == "json" or (automatic and service and not sys.stderr.isatty())
    native_stderr.use_json(_as_json)
    for handler in [one for one in LOGGER.handlers if isinstance(one, _Stderr)]:
        LOGGER.removeHandler(handler)
    LOGGER.propagate = False
    LOGGER.setLevel(logging.DEBUG if settings.log_level == "debug" else logging.INFO)
    handler = _Stderr()
    handler.setFormatter(_json_formatter() if _as_json else _Sentence())
    if service or _as_json or settings.log_level == "debug":
        handler.setLevel(settings.log_level.upper())
    else:
        handler.setLevel(logging.CRITICAL)
    LOGGER.addHandler(handler)


def for_machines() -> bool:
    """Whether stderr is JSON; then nothing else may be written to it."""
    return _as_json


def log_message(message: str, level: int = logging.INFO) -> None:
    """Log what would otherwise be said to a person."""
    LOGGER.log(level, message, extra={"event": "message"})


class _Stderr(logging.Handler):
    """Writes to the current sys.stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # logging must not stop the work that is logged
            self.handleError(record)


class _Sentence(logging.Formatter):
    """`scenesearch: search outcome=found hits=10 ...`."""

    def format(self, record: logging.LogRecord) -> str:
        own = logging.makeLogRecord({}).__dict__
        figures = {
            name: value
            for name, value in record.__dict__.items()
            if name not in own and name not in ("event", "message", "asctime")
        }
        listed = "".join(f" {name}={value!r}" for name, value in figures.items())
        details = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"scenesearch: {record.getMessage()}{listed}{details}"


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        "{levelname}{message}",
        style="{",
        timestamp="time",
        rename_fields={"levelname": "level"},
        json_ensure_ascii=False,
    )
