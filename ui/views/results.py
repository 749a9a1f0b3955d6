"""Pictures in a grid: the answer to a question, or the library to browse before one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import streamlit as st

from scenesearch.query import QueryError
from scenesearch.searcher import Hit, Searcher
from scenesearch.settings import Settings
from scenesearch.store.base import VectorStore
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter
from ui import pictures
from ui.components import PAGE_SIZE, Card, grid, page_of, pager, small, title_of
from ui.views.filters import clear_filters
from ui.views.original import show_original


@dataclass(frozen=True)
class Question:
    """What was asked of a library."""

    library: str
    text: str
    where: Filter
    min_relevance: float


@dataclass(frozen=True)
class _Picture:
    """What the screen needs of a hit or of a browsed point."""

    image_id: str
    payload: Mapping[str, Any]
    detail: str = ""


def show_answer(searcher: Searcher, settings: Settings, question: Question) -> None:
    """The pictures that fit, best first; or that there are none, with what comes nearest."""
    page = page_of(question)
    if page == 0:
        st.session_state["cursors"] = {}
    cursors: dict[int, str | None] = st.session_state["cursors"]
    try:
        request = searcher.parse(question.text, where=question.where)
        result = searcher.search(
            request,
            k=PAGE_SIZE,
            after=cursors.get(page),
            min_relevance=question.min_relevance,
            collapse=True,
        )
        searched = searcher.count(request)
    except QueryError as error:
        st.text(str(error))
        return
    cursors[page + 1] = result.next
    for number, notice in enumerate(result.notices):
        small(notice, key=f"notice-{number}")
    shown = [_of_hit(hit) for hit in result.hits]
    has_next = result.next is not None
    if not shown and page == 0:
        _nothing(searcher, settings, question, result.partial, searched=searched)
        return
    small(
        f"{_counted(page, len(shown), has_next)} · {searched:,} searched · "
        f"{result.total_ms:.0f} ms (words {result.encode_ms:.0f}, search {result.search_ms:.0f})",
        key="summary",
    )
    _show(shown, searcher.fields, settings, question.library, first=page * PAGE_SIZE + 1)
    pager(page, has_next=has_next)


def show_library(searcher: Searcher, store: VectorStore, settings: Settings, where: Filter) -> None:
    """The library's own pictures, page by page, in the store's stable order."""
    library = searcher.library
    page = page_of((library, where))
    count = store.count(library, where=where)
    if count == 0:
        _nothing_fits()
        return
    start = page * PAGE_SIZE
    points = list(
        islice(store.scroll(library, where=where, batch_size=256), start, start + PAGE_SIZE)
    )
    noun = "picture" if count == 1 else "pictures"
    fits = "fit the filters" if where else "in this library"
    small(f"{count:,} {noun} {fits}", key="summary")
    _show(
        [_Picture(point.image_id, point.payload) for point in points],
        searcher.fields,
        settings,
        library,
        first=start + 1,
    )
    pager(page, has_next=start + PAGE_SIZE < count)


def _of_hit(hit: Hit) -> _Picture:
    copies = f" · {len(hit.copies)} more like it" if hit.copies else ""
    found = f"{hit.relevance:.0%} relevant · cosine {hit.score:.3f}{copies}"
    return _Picture(hit.image_id, hit.payload, found)


def _counted(page: int, shown: int, has_next: bool) -> str:
    """'Pictures 1–24, more on the next page', '3 pictures': what is on this page of the answer."""
    first = page * PAGE_SIZE + 1
    last = first + shown - 1
    if has_next:
        return f"Pictures {first}–{last}, more on the next page"
    if page == 0:
        return f"{shown} picture{'' if shown == 1 else 's'}"
    return f"Pictures {first}–{last} of {last}"


def _show(
    shown: Sequence[_Picture],
    fields: Sequence[PayloadField],
    settings: Settings,
    library: str,
    *,
    first: int,
) -> None:
    thumbnails = settings.library_dir(library) / "thumbnails"
    by_number = dict(enumerate(shown, start=first))
    cards = [
        Card(
            number=number,
            thumbnail=pictures.thumbnail(
                thumbnails,
                str(picture.payload.get("sha256", "")),
                pictures.original_of(picture.payload),
                settings.max_megapixels,
            ),
            title=title_of(picture.payload, picture.image_id),
            detail=picture.detail,
        )
        for number, picture in by_number.items()
    ]

    def open_card(card: Card) -> None:
        picture = by_number[card.number]
        show_original(
            picture.image_id,
            picture.payload,
            fields,
            found=picture.detail,
            fallback=card.thumbnail,
            max_megapixels=settings.max_megapixels,
        )

    grid(cards, open_card)


def _nothing(
    searcher: Searcher,
    settings: Settings,
    question: Question,
    nearest: Sequence[Hit],
    *,
    searched: int,
) -> None:
    if searched == 0:
        _nothing_fits()
        return
    st.subheader(":material/search_off: Nothing in this library matches")
    st.text(
        f"None of {searched:,} pictures is at least {question.min_relevance:.0%} relevant. "
        "Use other words, remove a filter or ask for less relevance."
    )
    if nearest:
        with st.expander("Show the nearest pictures all the same"):
            shown = [_of_hit(hit) for hit in nearest]
            _show(shown, searcher.fields, settings, question.library, first=1)


def _nothing_fits() -> None:
    st.subheader(":material/filter_alt_off: No picture fits these filters")
    st.button("Clear the filters", on_click=clear_filters, key="clear-all")
