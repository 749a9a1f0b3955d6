"""The filters beside the results, made from the fields the library declares."""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta

import streamlit as st

from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Condition, Filter, HasWords, OneOf, Range
from ui import resources
from ui.components import label

_PREFIX = "where-"  # of the widgets' keys, which are also the names in the page's address
_TOP = "."  # the library's own folder
_FIRST_DAY, _LAST_DAY = date(1826, 1, 1), date(2100, 12, 31)  # since the first photograph


def show_filters(library: str, fields: tuple[PayloadField, ...]) -> Filter:
    """Draw a widget for each field that has values; returns the conditions that are set."""
    conditions: list[Condition] = []
    names = {field.name for field in fields}
    for field in fields:
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
    """Back to no filter; a callback, since widgets can only be set before they are drawn."""
    for key in [key for key in st.session_state if str(key).startswith(_PREFIX)]:
        st.session_state[key] = [] if isinstance(st.session_state[key], list) else None


def narrow(field: str, value: str) -> None:
    """Ask for this value of the field too; a callback, as above."""
    key = _PREFIX + field
    text = "top folder" if value == _TOP else value
    st.session_state[key] = [*dict.fromkeys([*st.session_state.get(key, []), text])]


def _choice(library: str, field: PayloadField) -> Iterator[Condition]:
    values = resources.choices(library, field.name)
    if not values or (field.hierarchical and values == [_TOP]):
        return
    by_text = {_choice_text(value): value for value in sorted(values, key=str)}
    chosen = st.multiselect(
        label(field.label),
        list(by_text),
        key=_PREFIX + field.name,
        help=label(field.help) or None,
        placeholder="any",
        # With more values than are listed, a known one can be typed.
        accept_new_options=field.type == "keyword" and len(values) >= resources.MAX_CHOICES,
        bind="query-params",
    )
    if chosen:
        yield OneOf(field.name, tuple(by_text.get(text, text) for text in chosen))


def _choice_text(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "top folder" if value == _TOP else str(value)


def _end_key(field: PayloadField, end: str, names: Collection[str]) -> str:
    """The key of one end of a range: no field's own, as of a column 'taken-from' beside 'taken'."""
    while f"{field.name}-{end}" in names:
        end += "_"
    return f"{_PREFIX}{field.name}-{end}"


def _date_range(library: str, field: PayloadField, names: Collection[str]) -> Iterator[Condition]:
    if not resources.has_values(library, field.name):
        return
    after = st.date_input(
        label(f"{field.label} from"),
        value=None,
        min_value=_FIRST_DAY,
        max_value=_LAST_DAY,
        format="YYYY-MM-DD",
        key=_end_key(field, "from", names),
        bind="query-params",
    )
    until = st.date_input(
        label(f"{field.label} until"),
        value=None,
        min_value=_FIRST_DAY,
        max_value=_LAST_DAY,
        format="YYYY-MM-DD",
        key=_end_key(field, "until", names),
        bind="query-params",
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
