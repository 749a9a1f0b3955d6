"""No view ends in Streamlit's own error box: faults are told in words, logged, and one goes on."""

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.testing.v1 import AppTest

from scenesearch.errors import SceneSearchError
from scenesearch.home.installation import Installation
from scenesearch.runtime.events import LOGGER
from scenesearch.store.base import IndexBusy, StoreUnavailable
from tests.conftest import ColourEncoder
from tests.unit.test_ui_states import headings, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import Shot, build_library, open_page, open_view, reds
from ui import resources
from ui.jobs import Job
from ui.settings import read_settings_again
from ui.views import errors

VIEWS = (
    *("search", "map", "add", "contents", "duplicates", "encoders", "evaluation"),
    *("left_out", "models", "settings"),
)
# A store is not what they show.
WITHOUT_STORE = {"add", "left_out", "settings"}
ELSEWHERE = "/srv/secret/pictures"

# In each view something that it cannot do without.
INSIDE = {
    "search": "ui.views.search.ask_in_header",
    "map": "ui.views.map._draw",
    "add": "ui.views.add._upload",
    "contents": "ui.views.contents._contents",
    "duplicates": "ui.views.duplicates._duplicates",
    "encoders": "ui.views.encoders._collections",
    "evaluation": "ui.views.evaluation.collections_of",
    "left_out": "ui.views.left_out._left_out",
    "settings": "ui.views.settings._rows",
    "models": "ui.views.models._row",
}


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def faults(self) -> list[logging.LogRecord]:
        return [one for one in self.records if getattr(one, "event", "") == "page_error"]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """The page as `ui.server` starts it: with the boundary, and with its log."""
    bounded = functools.partialmethod(ScriptRunner.__init__, on_script_error=errors.show_uncaught)
    monkeypatch.setattr(ScriptRunner, "__init__", bounded)
    heard = Heard()
    LOGGER.addHandler(heard)
    yield heard
    LOGGER.removeHandler(heard)


def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError(ELSEWHERE)


def error_titles(page: AppTest) -> list[str]:
    return [title for title in headings(page) if title.startswith(":material/error:")]


def assert_told(page: AppTest, heard: Heard, title: str = "An error in the program") -> None:
    assert not page.exception
    assert error_titles(page) == [f":material/error: {title}"]
    assert ELSEWHERE not in " ".join(texts(page))
    (logged,) = heard.faults
    assert logged.exc_info and ELSEWHERE in logged.getMessage()
    assert any(logged.number in text for text in texts(page))
    assert "Try again" in [button.label for button in page.button]


def go_on(page: AppTest) -> AppTest:
    (again,) = (button for button in page.button if button.label == "Try again")
    return again.click().run()


@pytest.mark.parametrize("view", VIEWS)
def test_a_fault_in_a_view_is_told_logged_and_left_behind(
    view: str,
    tmp_path: Path,
    colour_encoder: ColourEncoder,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    with monkeypatch.context() as patched:
        patched.setattr(INSIDE[view], broken)
        page = open_view(view)
        assert_told(page, heard)
    page = go_on(page)
    assert not page.exception and not error_titles(page)


def test_starting_over_leaves_behind_what_led_to_the_fault(
    tmp_path: Path, colour_encoder: ColourEncoder, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    page = open_page()
    monkeypatch.setattr("ui.views.search.show_answer", broken)
    page.text_input(key="q").input("red")
    (ask,) = (button for button in page.button if button.label == "Search")
    page = ask.click().run()
    assert_told(page, heard)
    (anew,) = (button for button in page.button if button.label == "Start over")
    page = anew.click().run()
    assert not page.exception and not error_titles(page)
    assert "2 pictures in this library" in texts(page)


def test_a_fault_in_a_callback_is_told_and_left_behind(
    tmp_path: Path, colour_encoder: ColourEncoder, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shot = Shot("wall.png", (220, 30, 30), payload={"captions": ["a big red wall"]})
    build_library(tmp_path, colour_encoder, [shot])
    with monkeypatch.context() as patched:
        patched.setattr("ui.views.home.ask", broken)
        page = open_page()
        page = page.button(key="ask-words-0").click().run()
        assert_told(page, heard)
    page = go_on(page)
    assert not error_titles(page)
    assert "1 picture in this library" in texts(page)


def test_a_fault_in_a_fragment_is_told(
    tmp_path: Path, colour_encoder: ColourEncoder, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    monkeypatch.setattr("ui.views.progress._status", broken)
    with at_work("running"):
        assert_told(open_view("add"), heard)


def test_a_fault_in_what_all_visitors_share_is_told_to_each(
    tmp_path: Path, colour_encoder: ColourEncoder, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    with monkeypatch.context() as patched:
        patched.setattr(Installation, "load_encoder", broken)
        page = open_page()
        assert_told(page, heard)
    assert not error_titles(go_on(page))


def test_too_little_memory_is_called_so(
    tmp_path: Path, colour_encoder: ColourEncoder, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise MemoryError(ELSEWHERE)

    build_library(tmp_path, colour_encoder, reds(2))
    monkeypatch.setattr("ui.views.map._draw", full)
    assert_told(open_view("map"), heard, "There is not enough memory")


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "fault", [StoreUnavailable(ELSEWHERE), IndexBusy(ELSEWHERE), OSError(ELSEWHERE)]
)
def test_a_store_that_goes_away_is_told_in_every_view(
    fault: Exception,
    view: str,
    tmp_path: Path,
    colour_encoder: ColourEncoder,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    assert not error_titles(open_view(view))

    class Away:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            if name in ("close", "release"):
                return lambda *_, **__: True
            return self.fails

        def fails(self, *_: Any, **__: Any) -> Any:
            raise fault

    kept = resources.store()
    monkeypatch.setattr(resources, "store", Away)
    page = open_view(view)
    assert not page.exception
    says_less = view == "models" and isinstance(fault, SceneSearchError)
    if not says_less and view not in WITHOUT_STORE:
        assert len(error_titles(page)) == 1
    monkeypatch.undo()
    kept.close()


def test_a_page_for_reading_names_no_files_in_its_errors(
    tmp_path: Path, colour_encoder: ColourEncoder, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable(f"no answer from {ELSEWHERE}")

    monkeypatch.setattr(Installation, "load_encoder", away)
    assert any(ELSEWHERE in text for text in texts(open_view("search")))
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", "true")
    read_settings_again()
    page = open_view("search")
    assert error_titles(page) == [":material/error: The store does not answer"]
    assert ELSEWHERE not in " ".join(texts(page))
    assert ELSEWHERE in heard.faults[-1].getMessage()


# --- what goes on in the background is drawn once ---------------------------------------------


class at_work:  # noqa: N801 - a context manager
    """A piece of work in the wanted state while the block runs."""

    def __init__(self, state: str) -> None:
        self.state, self.done = state, threading.Event()

    def __enter__(self) -> Job:
        def work(job: Job) -> None:
            while not self.done.is_set() and self.state in ("running", "paused"):
                self.done.wait(0.01)
            if self.state == "cancelled":
                raise KeyboardInterrupt
            if self.state == "failed":
                raise SceneSearchError("the disk is full")

        job = resources.jobs().start("Adding pictures", work)
        if self.state == "paused":
            job.pause()
        if self.state not in ("running", "paused"):
            resources.jobs().wait(5)
        return job

    def __exit__(self, *_: object) -> None:
        self.done.set()
        job = resources.jobs().current
        if job is not None:
            job.resume()
        resources.jobs().wait(5)
        resources.jobs().dismiss()


STATES = ("running", "paused", "done", "failed", "cancelled")


@pytest.mark.slow
@pytest.mark.parametrize("held", ["missing", "empty", "filled"])
@pytest.mark.parametrize("view", VIEWS)
def test_no_view_draws_anything_twice_whatever_goes_on(
    view: str, held: str, tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    if held != "missing":
        build_library(tmp_path, colour_encoder, reds(2) if held == "filled" else [])
    for state in STATES:
        with at_work(state):
            page = open_view(view)
            assert not page.exception, f"{state}: {page.exception[0].value}"
            page = page.run()  # a reload
            assert not page.exception, f"{state}: {page.exception[0].value}"


@pytest.mark.parametrize("view", ["add", "map"])
def test_a_first_ingest_and_a_reload_draw_its_progress_once(view: str) -> None:
    with at_work("running"):
        page = open_view(view).run()
        assert not page.exception, page.exception[0].value
        assert len([button for button in page.button if button.label == "Cancel"]) == 1


def test_two_sides_that_both_fail_are_told_apart(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    from ui.views import evaluation

    live = next(iter(evaluation.collections_of(resources.store(), "photos")))
    monkeypatch.setattr(evaluation, "collections_of", lambda *_: [live, live])
    page = open_view("evaluation")
    page.session_state["evaluation-part"] = "Side by side"
    page = page.run()
    page.text_input(key="side-q").input("red")

    def busy(*_: Any, **__: Any) -> Any:
        raise IndexBusy("x")

    monkeypatch.setattr(Installation, "load_encoder", busy)
    (ask,) = (button for button in page.button if button.label == "Ask both")
    page = ask.click().run()
    assert not page.exception
    assert len(error_titles(page)) == 2


def test_columns_whose_names_end_like_the_ends_of_a_range_have_their_own_filters(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    names = {
        "price": "integer",
        "price-from": "text",
        "taken-until": "keyword",
        "price-to": "float",
    }
    payload = {
        "price": 5,
        "price-from": "a shop",
        "taken-until": "x",
        "taken": "2020-01-01T00:00:00Z",
    }
    shot = Shot("a.png", (230, 0, 0), payload=payload)
    build_library(tmp_path, colour_encoder, [shot], custom=names)  # type: ignore[arg-type]
    page = open_page()
    assert not page.exception, page.exception[0].value
