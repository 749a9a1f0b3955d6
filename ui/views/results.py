"""Pictures in a grid: the answer to a question, or the library to browse before one."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import streamlit as st

from scenesearch.home.feedback import FILE_NAME, Feedback
from scenesearch.search.answer import Hit, SearchResult
from scenesearch.search.grammar import parse_order
from scenesearch.search.relevance import Band
from scenesearch.search.request import QueryError, Request
from scenesearch.store.filters import Filter
from ui import pictures
from ui.components import PAGE_SIZE, Card, grid, label, page_of, pager, small, title_of
from ui.resources import Opened
from ui.selection import draw_tick, selection_bar
from ui.views.filters import clear_filters, narrow
from ui.views.original import show_original

_BANDS: dict[Band, str] = {
    "strong": "Strong matches",
    "partial": "Partial matches",
    "weak": "Weak matches",
}

# What an answer can be ordered by: a field, or a way of ranking.
ORDERS = {
    "Best first": "",
    "Best first, by the picture alone": "alone",
    "Best first, varied": "varied",
    "Best first, by what was called right": "told",
    "Newest first": "-taken",
    "Oldest first": "taken",
    "By name": "image_id",
    "Largest first": "-size_bytes",
}
# By how well they fit: these are shown in bands.
_RANKED = ("", "alone", "told")
_VARIETY = 0.5
_MOST_FACETS = 6


@dataclass(frozen=True)
class Question:
    """What was asked of a library: words, perhaps a picture in the request, and filters."""

    request: Request
    min_relevance: float
    order: str = ""


@dataclass(frozen=True)
class _Picture:
    """What the screen needs of a hit or of a browsed point."""

    image_id: str
    payload: Mapping[str, Any]
    detail: str = ""


def show_answer(opened: Opened, question: Question) -> None:
    """The pictures that fit, best first; or that there are none, with what comes nearest."""
    page = page_of(question)
    # A page begins where the one before it ended, whatever has been added meanwhile.
    if page == 0:
        st.session_state["cursors"] = {}
    cursors: dict[int, str | None] = st.session_state["cursors"]
    try:
        result = _ask(opened, question, cursors.get(page))
        searched = opened.searcher.count(question.request)
    except QueryError as error:
        st.text(str(error))
        return
    cursors[page + 1] = result.next
    for number, notice in enumerate(result.notices):
        small(notice, key=f"notice-{number}")
    if not result.hits and page == 0:
        _nothing(opened, question, result.partial, searched=searched)
        return
    excluded = f" · {result.excluded:,} left out" if result.excluded else ""
    small(
        f"{_counted(page, len(result.hits), result.next is not None)} · {searched:,} searched"
        f"{excluded} · {result.total_ms:.0f} ms "
        f"(words {result.encode_ms:.0f}, search {result.search_ms:.0f})",
        key="summary",
    )
    counts = st.container()  # filled when the pictures are on their way
    first = page * PAGE_SIZE + 1
    if question.order in _RANKED and any(hit.band for hit in result.hits):
        for band, title in _BANDS.items():
            shown = [_of_hit(hit) for hit in result.hits if hit.band == band]
            if shown:
                st.subheader(title, anchor=False)
                _show(opened, shown, first=first, request=question.request, key=f"grid-{band}")
                first += len(shown)
    else:
        shown = [_of_hit(hit) for hit in result.hits]
        _show(opened, shown, first=first, request=question.request)
    selection_bar()
    pager(page, has_next=result.next is not None)
    # Counting reads every relevant picture, up to 10,000: only where somebody wants to see it.
    if st.session_state.get("facets"):
        with counts:
            counted = _counted_answer(opened, question)
            for number, notice in enumerate(counted.notices):
                if notice not in result.notices:
                    small(notice, key=f"counted-{number}")
            _facets(opened, counted)


def _counted_answer(opened: Opened, question: Question) -> SearchResult:
    """The answer with the values of what can be chosen; kept while its pages are turned."""
    kept: tuple[Any, SearchResult] | None = st.session_state.get("counted")
    asked = (question, opened.store.resolve(opened.library), opened.store.count(opened.library))
    if kept is None or kept[0] != asked:
        names = tuple(field.name for field in opened.fields if field.widget == "choice")
        kept = asked, _ask(opened, question, None, size=1, facets=names)
        st.session_state["counted"] = kept
    return kept[1]


def _ask(
    opened: Opened,
    question: Question,
    after: str | None,
    *,
    size: int = PAGE_SIZE,
    facets: tuple[str, ...] = (),
) -> SearchResult:
    searcher, order = opened.searcher, question.order
    right, wrong = _told(opened, question.request.text) if order == "told" else ((), ())
    return searcher.search(
        question.request,
        k=size,
        after=after,
        min_relevance=question.min_relevance,
        collapse=True,
        facets=facets,
        sort=None if order in (*_RANKED, "varied") else parse_order(order, opened.fields),
        hybrid=False if order == "alone" else None,
        diversity=_VARIETY if order == "varied" else None,
        right=right,
        wrong=wrong,
    )


def _told(opened: Opened, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pictures that visitors called right, and wrong, for the text."""
    file = opened.settings.library_dir(opened.library) / FILE_NAME
    if not text or not file.exists():
        return (), ()
    with closing(Feedback(file)) as table:
        return table.of(text)


def show_library(opened: Opened, where: Filter) -> None:
    """The library's own pictures, page by page, in the store's stable order."""
    library, store = opened.library, opened.store
    page = page_of((library, where))
    count = store.count(library, where=where)
    if count == 0:
        for number, reason in enumerate(opened.searcher.passed_by_none(where)):
            small(reason, key=f"notice-{number}")
        _nothing_fits(beside=True)
        return
    # A page goes on behind the last picture of the one before: the way to page 400 is not walked.
    if page == 0:
        st.session_state["browsed"] = {}
    last: dict[int, str] = st.session_state["browsed"]
    start = page * PAGE_SIZE
    scrolled = store.scroll(library, where=where, batch_size=PAGE_SIZE, after=last.get(page))
    points = list(islice(scrolled, PAGE_SIZE))
    if points:
        last[page + 1] = points[-1].image_id
    noun = "picture" if count == 1 else "pictures"
    fits = "fit the filters" if where else "in this library"
    small(f"{count:,} {noun} {fits}", key="summary")
    _show(opened, [_Picture(p.image_id, p.payload) for p in points], first=start + 1)
    selection_bar()
    pager(page, has_next=start + PAGE_SIZE < count)


def show_pictures(opened: Opened, image_ids: Sequence[str]) -> None:
    """These pictures of the library, in a grid."""
    found = opened.store.retrieve(opened.library, list(image_ids))
    shown = [_Picture(i, found[i].payload) for i in image_ids if i in found]
    _show(opened, shown, first=1)
    selection_bar()


def _of_hit(hit: Hit) -> _Picture:
    found = []
    if hit.relevance is not None and hit.score is not None:
        found = [f"{hit.relevance:.0%} relevant", f"cosine {hit.score:.3f}"]
    found += [f"{len(hit.duplicates)} more like it"] if hit.duplicates else []
    return _Picture(hit.image_id, hit.payload, " · ".join(found))


def _counted(page: int, shown: int, has_next: bool) -> str:
    """'Pictures 1–24, more on the next page', '3 pictures': what is on this page of the answer."""
    first = page * PAGE_SIZE + 1
    last = first + shown - 1
    if has_next:
        return f"Pictures {first}–{last}, more on the next page"
    if page == 0:
        return f"{shown} picture{'' if shown == 1 else 's'}"
    return f"Pictures {first}–{last} of {last}"


def _facets(opened: Opened, result: SearchResult) -> None:
    """What the answer's pictures have in common, with counts; a click narrows the answer."""
    fields = {field.name: field for field in opened.fields}
    for name, counts in result.facets.items():
        shown = [(value, count) for value, count in counts if value != "."]
        if len(shown) < 2:
            continue
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            with st.container(width="content"):
                small(fields[name].label, key=f"facet-{name}")
            for value, count in shown[:_MOST_FACETS]:
                st.button(
                    f"{label(_value(value))} · {count:,}",
                    key=f"facet-{name}-{value}",
                    type="tertiary",
                    on_click=narrow,
                    args=(name, _value(value)),
                )


def _value(value: str | int | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _show(
    opened: Opened,
    shown: Sequence[_Picture],
    *,
    first: int,
    request: Request | None = None,
    key: str = "grid",
) -> None:
    by_number = dict(enumerate(shown, start=first))

    def open_card(card: Card) -> None:
        picture = by_number[card.number]
        show_original(
            opened,
            picture.image_id,
            picture.payload,
            found=picture.detail,
            fallback=card.thumbnail,
            request=request,
        )

    def tick(card: Card) -> None:
        draw_tick(card, by_number[card.number].payload)

    grid(list(_cards(opened, by_number)), open_card, key=key, pick=tick)


def _cards(opened: Opened, by_number: Mapping[int, _Picture]) -> Iterator[Card]:
    for number, picture in by_number.items():
        yield Card(
            number=number,
            image_id=picture.image_id,
            thumbnail=pictures.thumbnail(
                opened.thumbnails_dir,
                str(picture.payload.get("sha256", "")),
                pictures.original_of(picture.payload),
                opened.settings.max_megapixels,
            ),
            title=title_of(dict(picture.payload), picture.image_id),
            detail=picture.detail,
        )


def _nothing(opened: Opened, question: Question, nearest: Sequence[Hit], *, searched: int) -> None:
    if searched == 0:
        _nothing_fits(beside=bool(question.request.where))
        return
    st.subheader(":material/search_off: Nothing in this library matches", anchor=False)
    st.text(
        f"None of {searched:,} pictures is at least {question.min_relevance:.0%} relevant. "
        "Use other words, remove a filter or ask for less relevance."
    )
    if nearest:
        with st.expander("Show the nearest pictures all the same"):
            _show(opened, [_of_hit(hit) for hit in nearest], first=1, request=question.request)


def _nothing_fits(*, beside: bool) -> None:
    """`beside` the answer, or in the box, stand the filters."""
    st.subheader(":material/filter_alt_off: No picture fits these filters", anchor=False)
    if not beside:
        st.text("They stand in the box: change them there, or take them out.")
        return
    st.button("Clear the filters", on_click=clear_filters, key="clear-all")
