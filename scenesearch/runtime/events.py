"""Log records: one for each search and each run of ingest.

A record has `event` and its values as attributes. Entry points decide where it goes: to a log
(scenesearch.home.logs) or to Prometheus (scenesearch.home.prometheus). The words of queries, names
of pictures and keys only appear at debug level.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from uuid import uuid4

LOGGER = logging.getLogger("scenesearch")

Outcome = Literal["found", "nothing", "refused", "error"]


class SearchEvent:
    """A search in progress; the searcher fills in what it found."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.request_id = uuid4().hex[:12]
        self.hits = 0
        self.encode_ms = self.search_ms = 0.0


@contextmanager
def log_search(library: str, refused: type[Exception]) -> Iterator[SearchEvent]:
    """Log the search when it ends, however it ends; `refused` is a mistake in the request."""
    search, started = SearchEvent(library), time.perf_counter()
    outcome: Outcome = "error"
    reason: str | None = None
    try:
        yield search
        outcome = "found" if search.hits else "nothing"
    except refused:
        outcome = "refused"
        raise
    except Exception as error:
        reason = type(error).__name__
        raise
    finally:
        values = {
            "event": "search",
            "request_id": search.request_id,
            "library": library,
            "outcome": outcome,
            "hits": search.hits,
            "encode_ms": round(search.encode_ms, 2),
            "search_ms": round(search.search_ms, 2),
            "total_ms": round((time.perf_counter() - started) * 1000, 2),
        }
        if reason is not None:
            values["error"] = reason
        level = logging.ERROR if outcome == "error" else logging.INFO
        LOGGER.log(level, "search", extra=values)


def log_query(search: SearchEvent, request: object) -> None:
    """Log the words of a query, at debug level only."""
    if LOGGER.isEnabledFor(logging.DEBUG):
        values = {"event": "query", "request_id": search.request_id, "query": str(request)}
        LOGGER.debug("query", extra=values)


def log_ingest(values: Mapping[str, Any]) -> None:
    """Log the counts of a run of ingest, or of one burst of a watch."""
    LOGGER.info("ingest", extra={"event": "ingest", **values})


def log_errors_of(*names: str) -> None:
    """What these loggers of a server's libraries say about errors goes to our log, and nothing else
    of it anywhere."""
    for name in names:
        logging.getLogger(name).addFilter(_to_our_log)


def _to_our_log(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        LOGGER.log(
            record.levelno,
            record.getMessage(),
            exc_info=record.exc_info,
            extra={"event": "server"},
        )
    return False
