"""The sidebar beside the results: order, least relevance, and filters made from the fields that
the library declares."""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta

import streamlit as st

from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Condition, Filter, HasWords, OneOf, Range
from ui.components import label, small
from ui.contents import MAX_CHOICES, choices, has_dates
from ui.resources import OpenLibrary

# What an answer can be ordered by: a field, or a way of ranking.
ORDERS = {
    "Best first": "",
    "Best first, by the picture alone": "alone",
    "Best first, varied": "varied",
    "Best first, by what was called right": "feedback",
    "Newest first": "-taken",
    "Oldest first": "taken",
    "By name": "image_id",
    "Largest first": "-size_bytes",
}

_PREFIX = "where-"  # of the widgets' keys, which are also the names in the page's address
_TOP = "."  # the library's own folder
_FIRST_DAY, _LAST_DAY = date(1826, 1, 1), date(2100, 12, 31)  # since the first photograph


def show_sidebar(
    opened: OpenLibrary, default_cut: float, why: str
) -> tuple[Filter, float | None, str]:
    """Draw the sidebar; returns the filters, the least relevance and the order. The relevance is
    None where it is left at the `default_cut`; `why` says what is special about that."""
    set_cut = opened.settings.min_relevance
    usual = round(100 * (default_cut if set_cut is None else set_cut))
    with st.sidebar:
        st.subheader("Narrow it down", anchor=False)
        order = st.selectbox("Order", list(ORDERS), key="order", bind="query-params")
        percent = st.slider(
            "Relevance at least",
            min_value=0,
            max_value=100,
            value=usual,
            format="%d %%",
            key="relevance",
            help="A lower value finds more pictures, and more wrong ones."
            + (f" At {usual} % {why}." if set_cut is None and why else ""),
            bind="query-params",
        )
        untouched = set_cut is None and percent == usual
        if untouched:
            small("Automatic: decided anew for each request", key="automatic-cut")
        st.toggle(
            "Count the answer's contents",
            key="facets",
            help="The cameras, tags and folders of the pictures found; a click filters by one.",
            persist_state="session",
        )
        where = _show_filters(opened)
        name = opened.encoder.info.name
        small(f"Library {opened.library} · encoder {name}", key="about")
    return where, None if untouched else percent / 100, ORDERS[order]


def _show_filters(opened: OpenLibrary) -> Filter:
    """Draw a widget for each field that has values; returns the conditions that are set."""
    library = opened.library
    conditions: list[Condition] = []
    names = {field.name for field in opened.fields}
    for field in opened.fields:
        if field.widget == "choice":
            conditions += _choice(library, field)
        elif field.widget == "date_range":
            conditions += _date_range(library, field, names)
        elif field.widget == "number_range":
            conditions += _number_range(field, names)
        elif field.widget == "text":
            conditions += _words(field)
    if conditions:
        st.button("Clear filters", on_click=clear_filters, key="clear", width="stretch")
    return tuple(conditions)


def clear_filters() -> None:
    """Remove all filters; a callback, since widgets can only be set before they are drawn."""
    for key in [key for key in st.session_state if str(key).startswith(_PREFIX)]:
        st.session_state[key] = [] if isinstance(st.session_state[key], list) else None


def add_filter(field: str, value: str) -> None:
    """Filter by this value of the field too; a callback, as above."""
    key = _PREFIX + field
    st.session_state[key] = [*dict.fromkeys([*st.session_state.get(key, []), value])]


def _choice(library: str, field: PayloadField) -> Iterator[Condition]:
    values = choices(library, field.name)
    if not values or (field.hierarchical and values == [_TOP]):
        return
    by_text = {choice_text(value): value for value in sorted(values, key=str)}
    chosen = st.multiselect(
        label(field.label),
        list(by_text),
        key=_PREFIX + field.name,
        help=label(field.help) or None,
        placeholder="any",
        # With more values than are listed, a known one can be typed.
        accept_new_options=field.type == "keyword" and len(values) >= MAX_CHOICES,
        bind="query-params",
    )
    if chosen:
        yield OneOf(field.name, tuple(by_text.get(text, text) for text in chosen))


def choice_text(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "top folder" if value == _TOP else str(value)


def _end_key(field: PayloadField, end: str, names: Collection[str]) -> str:
    """The key of one end of a range. It must not be that of a field: a column may be named
    'taken-from' beside 'taken'."""
    while f"{field.name}-{end}" in names:
        end += "_"
    return f"{_PREFIX}{field.name}-{end}"


def _date_range(library: str, field: PayloadField, names: Collection[str]) -> Iterator[Condition]:
    if not has_dates(library, field.name):
        return
    after, until = (
        st.date_input(
            label(f"{field.label} {end}"),
            value=None,
            min_value=_FIRST_DAY,
            max_value=_LAST_DAY,
            format="YYYY-MM-DD",
            key=_end_key(field, end, names),
            bind="query-params",
        )
        for end in ("from", "until")
    )
    if after or until:
        yield Range(
            field.name,
            at_least=_midnight(after) if after else None,
            below=_midnight(until + timedelta(days=1)) if until else None,
        )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _number_range(field: PayloadField, names: Collection[str]) -> Iterator[Condition]:
    first, last = st.columns(2)
    step = 1 if field.type == "integer" else None
    bounds = [
        column.number_input(
            label(f"{field.label} {end}"),
            value=None,
            step=step,
            placeholder="any",
            key=_end_key(field, end, names),
            bind="query-params",
        )
        for column, end in ((first, "from"), (last, "to"))
    ]
    if bounds != [None, None]:
        yield Range(field.name, at_least=bounds[0], at_most=bounds[1])


def _words(field: PayloadField) -> Iterator[Condition]:
    words = st.text_input(
        label(field.label),
        key=_PREFIX + field.name,
        placeholder="all these words",
        bind="query-params",
    )
    if words and words.strip():
        yield HasWords(field.name, words.strip())
