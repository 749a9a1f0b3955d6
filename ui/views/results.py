"""The answer to a question in bands and pages, or the library to browse before there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import streamlit as st

from scenesearch.search.answer import Hit, SearchResult
from scenesearch.search.grammar import parse_order
from scenesearch.search.relevance import Band
from scenesearch.search.request import QueryError, Request
from scenesearch.store.filters import Filter
from ui.components import PAGE_SIZE, current_page, label, pager, small
from ui.pictures import Picture
from ui.resources import OpenLibrary, library_files
from ui.selection import selection_bar
from ui.views.grid import show_grid
from ui.views.sidebar import add_filter, choice_text, clear_filters

_BANDS: dict[Band, str] = {
    "strong": "Strong matches",
    "partial": "Partial matches",
    "weak": "Weak matches",
}

# Orders by how well pictures match: these are shown in bands.
_RANKED = ("", "alone", "feedback")
_DIVERSITY = 0.5
_MAX_FACET_VALUES = 6


@dataclass(frozen=True)
class Question:
    """A request to a library, perhaps with a picture, the least relevance (None: the library's
    default), and an order."""

    request: Request
    min_relevance: float | None
    order: str = ""


def show_answer(opened: OpenLibrary, question: Question) -> None:
    """The pictures that match, best first; or that there are none, with the nearest ones."""
    page, starts = current_page(question)
    try:
        result = _search(opened, question, starts.get(page))
        searched = opened.searcher.count(question.request)
    except QueryError as error:
        st.text(str(error))
        return
    starts[page + 1] = result.next
    _show_notices(result.notices)
    if not result.hits and page == 0:
        _show_nothing_found(opened, question, result, searched=searched)
        return
    excluded = f" · {result.excluded:,} left out" if result.excluded else ""
    small(
        f"{_page_summary(page, len(result.hits), result.next is not None)} · {searched:,} searched"
        f"{excluded} · {result.total_ms:.0f} ms "
        f"(words {result.encode_ms:.0f}, search {result.search_ms:.0f})",
        key="summary",
    )
    facets = st.container()  # filled once the pictures have been sent
    first = page * PAGE_SIZE + 1
    request = question.request
    if question.order in _RANKED and any(hit.band for hit in result.hits):
        for band, title in _BANDS.items():
            pictures = [_picture(hit) for hit in result.hits if hit.band == band]
            if pictures:
                st.subheader(title, anchor=False)
                show_grid(opened, pictures, first=first, key=f"grid-{band}", request=request)
                first += len(pictures)
    else:
        pictures = [_picture(hit) for hit in result.hits]
        show_grid(opened, pictures, first=first, request=request)
    selection_bar()
    pager(page, has_next=result.next is not None)
    # Counting reads every relevant picture, up to 10,000: only if somebody wants to see it.
    if st.session_state.get("facets"):
        with facets:
            counted = _count_facets(opened, question)
            new = [notice for notice in counted.notices if notice not in result.notices]
            _show_notices(new, key="counted")
            _show_facets(opened, counted)


def _search(
    opened: OpenLibrary,
    question: Question,
    after: str | None,
    *,
    size: int = PAGE_SIZE,
    facets: tuple[str, ...] = (),
) -> SearchResult:
    order = question.order
    right, wrong = _marked(question.request.text) if order == "feedback" else ((), ())
    return opened.searcher.search(
        question.request,
        k=size,
        after=after,
        min_relevance=question.min_relevance or 0.0,
        default_cut=question.min_relevance is None,
        collapse=True,
        facets=facets,
        sort=None if order in (*_RANKED, "varied") else parse_order(order, opened.fields),
        hybrid=False if order == "alone" else None,
        diversity=_DIVERSITY if order == "varied" else None,
        right=right,
        wrong=wrong,
    )


def _marked(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pictures that visitors marked as right for the text, and those marked as wrong."""
    files = library_files()
    if not text or not files.feedback.exists():
        return (), ()
    with files.open_feedback() as feedback:
        return feedback.of(text)


def _count_facets(opened: OpenLibrary, question: Question) -> SearchResult:
    """The answer with counts of its fields' values; cached while its pages are turned."""
    cached: tuple[object, SearchResult] | None = st.session_state.get("counted")
    key = (question, opened.store.resolve(opened.library), opened.store.count(opened.library))
    if cached is None or cached[0] != key:
        names = tuple(field.name for field in opened.fields if field.widget == "choice")
        cached = key, _search(opened, question, None, size=1, facets=names)
        st.session_state["counted"] = cached
    return cached[1]


def show_library(opened: OpenLibrary, where: Filter) -> None:
    """The library's own pictures, page by page, in the store's stable order."""
    library, store = opened.library, opened.store
    page, starts = current_page((library, where))
    count = store.count(library, where=where)
    if count == 0:
        _show_notices(opened.searcher.passed_by_none(where))
        _show_no_fit(in_sidebar=True)
        return
    scrolled = store.scroll(library, where=where, batch_size=PAGE_SIZE, after=starts.get(page))
    points = list(islice(scrolled, PAGE_SIZE))
    if points:
        starts[page + 1] = points[-1].image_id
    noun = "picture" if count == 1 else "pictures"
    small(f"{count:,} {noun} {'fit the filters' if where else 'in this library'}", key="summary")
    first = page * PAGE_SIZE + 1
    show_grid(opened, [Picture(p.image_id, p.payload) for p in points], first=first)
    selection_bar()
    pager(page, has_next=first + PAGE_SIZE <= count)


def _picture(hit: Hit) -> Picture:
    details = []
    if hit.relevance is not None and hit.score is not None:
        details = [f"{hit.relevance:.0%} relevant", f"cosine {hit.score:.3f}"]
    if hit.duplicates:
        details.append(f"{len(hit.duplicates)} more like it")
    return Picture(hit.image_id, hit.payload, " · ".join(details))


def _page_summary(page: int, shown: int, has_next: bool) -> str:
    """'Pictures 1–24, more on the next page' or '3 pictures': what this page shows."""
    first = page * PAGE_SIZE + 1
    last = first + shown - 1
    if has_next:
        return f"Pictures {first}–{last}, more on the next page"
    if page == 0:
        return f"{shown} picture{'' if shown == 1 else 's'}"
    return f"Pictures {first}–{last} of {last}"


def _show_notices(notices: Sequence[str], *, key: str = "notice") -> None:
    for number, notice in enumerate(notices):
        small(notice, key=f"{key}-{number}")


def _show_facets(opened: OpenLibrary, result: SearchResult) -> None:
    """Counts of the values that the answer's pictures have; a click filters by one."""
    fields = {field.name: field for field in opened.fields}
    for name, counts in result.facets.items():
        shown = [(choice_text(value), count) for value, count in counts if value != "."]
        if len(shown) < 2:
            continue
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            with st.container(width="content"):
                small(fields[name].label, key=f"facet-{name}")
            for value, count in shown[:_MAX_FACET_VALUES]:
                st.button(
                    f"{label(value)} · {count:,}",
                    key=f"facet-{name}-{value}",
                    type="tertiary",
                    on_click=add_filter,
                    args=(name, value),
                )


def _show_nothing_found(
    opened: OpenLibrary, question: Question, result: SearchResult, *, searched: int
) -> None:
    if searched == 0:
        _show_no_fit(in_sidebar=bool(question.request.where))
        return
    st.subheader(":material/search_off: Nothing in this library matches", anchor=False)
    st.text(
        f"None of {searched:,} pictures is at least {result.min_relevance:.0%} relevant. "
        "Use other words, remove a filter or ask for less relevance."
    )
    if result.partial:
        with st.expander("Show the nearest pictures anyway"):
            show_grid(opened, [_picture(hit) for hit in result.partial], request=question.request)


def _show_no_fit(*, in_sidebar: bool) -> None:
    """The filters are in the sidebar, or else in the text of the request."""
    st.subheader(":material/filter_alt_off: No picture fits these filters", anchor=False)
    if in_sidebar:
        st.button("Clear the filters", on_click=clear_filters, key="clear-all")
    else:
        st.text("The filters are in the search box: change them there, or remove them.")
