"""The answer to a question, or the library to browse before there is one."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from scenesearch.search.answer import SearchResult
from scenesearch.search.grammar import parse_order
from scenesearch.search.request import QueryError, Request
from scenesearch.store.filters import Filter
from ui.api_library import ApiSearcher
from ui.components import small
from ui.feedback import marks_of
from ui.gallery.answers import PORTION, Answer, SearchAnswer, StoredAnswer
from ui.gallery.listing import Listing, newest_first
from ui.resources import OpenLibrary
from ui.views.gallery import Made, Shown, draw, shown
from ui.views.sidebar import clear_filters

# Orders by how well pictures match: relevance falls from one to the next.
_RANKED = ("", "alone", "feedback")
_DIVERSITY = 0.5


@dataclass(frozen=True)
class Question:
    """A request to a library, perhaps with a picture, the least relevance (None: the library's
    default), and an order."""

    request: Request
    min_relevance: float | None
    order: str = ""


def show_answer(opened: OpenLibrary, question: Question, about: DeltaGenerator) -> None:
    """The pictures that match, best first; or that there are none, with the nearest ones. In the
    container `about` it says how many."""
    marks = marks_of(question.request.text) if question.order == "feedback" else ((), ())
    try:
        now = shown(opened, (question, marks), lambda: _ask(opened, question))
    except QueryError as error:
        st.text(str(error))
        return
    result = now.result
    if result is None:
        raise AssertionError("an answer of a search has a result")
    _show_notices(result.notices)
    if not now.first or now.answer.nearest == 0:
        _show_nothing_found(opened, question, now, result)
        return
    count = len(now.first)
    number = f"{count}" if now.next is None else f"At least {count}"
    noun = "picture" if count == 1 else "pictures"
    with about:
        with st.container(width="content"):
            small(f"{number} found", key="summary")
        with st.popover("Details", type="tertiary"):
            _show_details(result)
    draw(opened, now, ordered_by=_rail(question.order), announce=f"{number} {noun} found")


def _ask(opened: OpenLibrary, question: Question) -> Made:
    """Search; further portions ask the same."""
    result = _search(opened, question, None)
    if not result.hits:
        nearest = Answer.of_hits(result.partial, question.request)
        nearest.nearest = 0
        return Made(nearest, {hit.image_id: hit.payload for hit in result.partial}, result)

    def go_on(opened: OpenLibrary, after: str, k: int) -> SearchResult:
        return _search(opened, question, after, size=k)

    ranked = question.order in _RANKED
    answer = SearchAnswer(question.request, result, go_on, ranked=ranked)
    return Made(answer, {hit.image_id: hit.payload for hit in result.hits}, result)


def _rail(order: str) -> str:
    return "taken" if order.removeprefix("-") == "taken" else ""


def _show_details(result: SearchResult) -> None:
    """What only some visitors want to know of an answer."""
    lines = [
        f"{result.total_ms:.0f} ms: words {result.encode_ms:.0f}, search {result.search_ms:.0f}",
        f"The best is at least {result.min_relevance:.0%} relevant.",
        f"Encoder {result.encoder}",
    ]
    if result.excluded:
        lines.append(f"{result.excluded:,} left out, since they show what was subtracted.")
    small("\n".join(lines), key="answer-details")


def _search(
    opened: OpenLibrary, question: Question, after: str | None, *, size: int = PORTION
) -> SearchResult:
    order = question.order
    right, wrong = marks_of(question.request.text) if order == "feedback" else ((), ())
    return opened.searcher.search(
        question.request,
        k=size,
        after=after,
        min_relevance=question.min_relevance or 0.0,
        default_cut=question.min_relevance is None,
        collapse=True,
        sort=None if order in (*_RANKED, "varied") else parse_order(order, opened.fields),
        hybrid=False if order == "alone" else None,
        diversity=_DIVERSITY if order == "varied" else None,
        right=right,
        wrong=wrong,
    )


def show_library(opened: OpenLibrary, where: Filter) -> None:
    """The library's own pictures, the newest first."""
    library = opened.library
    count = opened.store.count(library, where=where)
    if count == 0:
        _show_notices(opened.searcher.passed_by_none(where))
        _show_no_fit(in_sidebar=True)
        return
    noun = "picture" if count == 1 else "pictures"
    small(f"{count:,} {noun} {'fit the filters' if where else 'in this library'}", key="summary")
    now = shown(opened, ("library", where), lambda: _list(opened, where))
    draw(opened, now, ordered_by="" if isinstance(opened.searcher, ApiSearcher) else "taken")


def _list(opened: OpenLibrary, where: Filter) -> Made:
    if isinstance(opened.searcher, ApiSearcher):  # which would be asked for all of its dates
        return Made(StoredAnswer(where, opened.store.count(opened.library, where=where)))
    return Made(Listing(newest_first(opened, opened.searcher, where)))


def _show_notices(notices: Sequence[str]) -> None:
    for number, notice in enumerate(notices):
        small(notice, key=f"notice-{number}")


def _show_nothing_found(
    opened: OpenLibrary, question: Question, now: Shown, result: SearchResult
) -> None:
    searched = opened.searcher.count(question.request)
    if searched == 0:
        _show_no_fit(in_sidebar=bool(question.request.where))
        return
    st.subheader(":material/search_off: Nothing in this library matches", anchor=False)
    st.text(
        f"None of {searched:,} pictures is at least {result.min_relevance:.0%} relevant. "
        "Use other words, remove a filter or ask for less relevance."
    )
    if now.first:
        draw(opened, now, announce="Nothing matches; the nearest pictures are shown")


def _show_no_fit(*, in_sidebar: bool) -> None:
    """The filters are in the sidebar, or else in the text of the request."""
    st.subheader(":material/filter_alt_off: No picture fits these filters", anchor=False)
    if in_sidebar:
        st.button("Clear the filters", on_click=clear_filters, key="clear-all")
    else:
        st.text("The filters are in the search box: change them there, or remove them.")
