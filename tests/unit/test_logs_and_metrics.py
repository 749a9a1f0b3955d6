"""What is logged and counted, and what never is."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from ingest.pipeline import ingest
from ingest.source import Roots
from ingest.sources import find_sources
from scenesearch.commands.console import say
from scenesearch.home import logs, prometheus
from scenesearch.home.settings import Settings
from scenesearch.runtime import events
from scenesearch.search.request import QueryError
from scenesearch.search.searcher import Searcher
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder

WORDS = "crimson-hideaway"


@pytest.fixture(autouse=True)
def untouched_logger() -> Iterator[None]:
    before = (list(events.LOGGER.handlers), events.LOGGER.level, events.LOGGER.propagate)
    yield
    events.LOGGER.handlers, events.LOGGER.level, events.LOGGER.propagate = before
    logs.configure(Settings())
    events.LOGGER.handlers, events.LOGGER.level, events.LOGGER.propagate = before


@pytest.fixture
def searcher(store: EdgeStore, photos: Path, colour_encoder: ColourEncoder) -> Searcher:
    ingest(
        find_sources([photos], roots=Roots()),
        library="photos",
        encoder=colour_encoder,
        store=store,
    )
    return Searcher(colour_encoder, store, "photos")


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_search_is_logged_as_json_with_its_id_and_times_but_not_its_words(
    searcher: Searcher, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings(log_format="json"))
    searcher.search(f"red {WORDS}")
    searcher.search("red")
    first, second = logged(capsys)
    assert first["event"] == "search"
    assert first["level"] == "INFO"
    assert first["outcome"] == "found"
    assert first["request_id"] != second["request_id"]
    assert first["total_ms"] >= first["search_ms"] > 0  # type: ignore[operator]
    assert WORDS not in json.dumps(first)


def test_the_words_are_logged_at_debug_level_under_the_same_id(
    searcher: Searcher, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings(log_format="json", log_level="debug"))
    searcher.search(f"red {WORDS}")
    query, search = logged(capsys)
    assert WORDS in str(query["query"])
    assert query["request_id"] == search["request_id"]


def test_a_failed_search_is_an_error_with_its_kind_and_a_refused_one_is_not(
    searcher: Searcher, store: EdgeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings(log_format="json"))
    with pytest.raises(QueryError):
        searcher.search("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searcher, "_search", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            searcher.search("red")
    refused, failed = logged(capsys)
    assert (refused["outcome"], refused["level"]) == ("refused", "INFO")
    assert (failed["outcome"], failed["level"]) == ("error", "ERROR")
    assert failed["error"] == "ZeroDivisionError"


def test_a_command_says_sentences_and_logs_nothing_by_itself(
    searcher: Searcher, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings())
    searcher.search("red")
    say("done")
    assert capsys.readouterr().err == "scenesearch: done\n"


def test_a_service_without_a_terminal_logs_json_messages_included(
    searcher: Searcher, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings(), service=True)
    searcher.search("red")
    say("watching")
    assert [entry["event"] for entry in logged(capsys)] == ["search", "message"]


def test_a_service_asked_for_text_logs_readable_lines(
    searcher: Searcher, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings(log_format="text"), service=True)
    searcher.search("red")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("scenesearch: search request_id=")
    assert "outcome='found'" in line


def test_less_than_the_level_is_not_logged(
    searcher: Searcher, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings(log_format="json", log_level="error"))
    searcher.search("red")
    say("by the way")
    assert capsys.readouterr().err == ""


def scraped(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    close = prometheus.serve(f"127.0.0.1:{number}")
    yield number
    close()


def test_searches_are_counted_by_outcome_with_their_times(searcher: Searcher, port: int) -> None:
    before = scraped(port)
    searcher.search("red")
    searcher.search("red", min_relevance=1.0)
    with pytest.raises(QueryError):
        searcher.search("")
    after = scraped(port)

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more('scenesearch_searches_total{outcome="found"}') == 1
    assert more('scenesearch_searches_total{outcome="nothing"}') == 1
    assert more('scenesearch_searches_total{outcome="refused"}') == 1
    assert more('scenesearch_search_seconds_count{stage="total"}') == 2


def test_no_metric_names_words_or_pictures(searcher: Searcher, port: int) -> None:
    searcher.search(f"red {WORDS}")
    text = str(scraped(port))
    assert WORDS not in text
    assert ".jpg" not in text


def test_runs_of_ingest_one_after_another_add_up(port: int) -> None:
    meter, before = prometheus.IngestMeter(), scraped(port)
    names = ("total", "seen", "written", "skipped", "rejected", "removed", "moved", "retries")
    zero = dict.fromkeys(names, 0) | {"library": "x", "total": 9}
    first = SimpleNamespace(**zero)
    for written in (2, 5, 5):
        first.written, first.seen = written, written
        meter(first)
    meter(SimpleNamespace(**{**zero, "written": 1, "retries": 2, "total": 4, "seen": 1}))
    after = scraped(port)
    name = 'scenesearch_ingest_pictures_total{outcome="written"}'
    assert after[name] - before.get(name, 0) == 6
    assert after["scenesearch_ingest_queue_pictures"] == 3
    retries = "scenesearch_ingest_retries_total"
    assert after[retries] - before[retries] == 2


def test_the_encoders_time_is_counted_by_tower_and_its_vectors_are_the_same(
    colour_encoder: ColourEncoder, port: int
) -> None:
    timed, before = prometheus.TimedEncoder(colour_encoder), scraped(port)
    picture = Image.new("RGB", (8, 8), (220, 30, 30))
    assert (timed.encode_images([picture]) == colour_encoder.encode_images([picture])).all()
    assert (timed.encode_texts(["red"]) == colour_encoder.encode_texts(["red"])).all()
    assert timed.info is colour_encoder.info
    after = scraped(port)
    for tower in ("image", "text"):
        name = f'scenesearch_encoder_seconds_total{{tower="{tower}"}}'
        assert after[name] > before.get(name, 0)


def test_all_names_of_metrics_are_served_under_the_names_that_dashboards_use(port: int) -> None:
    prometheus.SEARCHES.labels("found").inc(0)
    prometheus.SEARCH_SECONDS.labels("total").observe(0.01)
    prometheus.PICTURES.labels("written").inc(0)
    prometheus.ENCODER_SECONDS.labels("image").inc(0)
    prometheus.REJECTS.labels("photos").set(0)
    served = {name.partition("{")[0] for name in scraped(port)}
    assert served >= {
        *("scenesearch_searches_total", "scenesearch_search_seconds_bucket"),
        *("scenesearch_ingest_pictures_total", "scenesearch_ingest_retries_total"),
        *("scenesearch_ingest_queue_pictures", "scenesearch_rejects"),
        *("scenesearch_encoder_seconds_total", "scenesearch_build_info"),
    }


def test_a_taken_address_is_one_sentence(port: int) -> None:
    with pytest.raises(prometheus.MetricsError, match=f"cannot listen at 127.0.0.1:{port}: "):
        prometheus.serve(f"127.0.0.1:{port}")
