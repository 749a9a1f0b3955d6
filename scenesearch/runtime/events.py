"""What happens, told to Python's logging: one record for each search and each run of ingest.

A record has `event` and its figures as attributes; entry points decide who hears it, a log
(scenesearch.home.logs) or metrics (scenesearch.home.prometheus). Words of queries, names of
pictures and keys are in no record but those at debug level.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from uuid import uuid4

LOGGER = logging.getLogger("scenesearch")

Outcome = Literal["found", "nothing", "refused", "error"]


class Search:
    """A search at work; who answers it fills in what it found."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.request_id = uuid4().hex[:12]
        self.hits = 0
        self.encode_ms = self.search_ms = 0.0


@contextmanager
def searching(library: str, refused: type[Exception]) -> Iterator[Search]:
    """Tells of the search at its end, however it ends; `refused` is the asker's own mistake."""
    search, started = Search(library), time.perf_counter()
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
        figures = {
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
            figures["error"] = reason
        level = logging.ERROR if outcome == "error" else logging.INFO
        LOGGER.log(level, "search", extra=figures)


def query_text(search: Search, request: object) -> None:
    """The words of a query: for debugging alone."""
    if LOGGER.isEnabledFor(logging.DEBUG):
        figures = {"event": "query", "request_id": search.request_id, "query": str(request)}
        LOGGER.debug("query", extra=figures)


def ingested(figures: Mapping[str, Any]) -> None:
    """The counts of a run of ingest, or of one burst of a watch."""
    LOGGER.info("ingest", extra={"event": "ingest", **figures})
