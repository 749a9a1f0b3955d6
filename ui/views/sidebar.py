"""The sidebar beside the results: least relevance, and filters made from the fields that the
library declares. Values to choose are in one panel, `ui.views.filter_panel`."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta

import streamlit as st

from scenesearch.search.request import Upload
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Condition, Filter, HasWords, OneOf, Range
from ui.components import label, small
from ui.contents import choices, has_values
from ui.filters.chosen import PREFIX, agree_with_address, chosen
from ui.map.filter import chosen_box, show_place_filter
from ui.resources import OpenLibrary, libraries
from ui.settings import choose_library, page_settings
from ui.views.filter_panel import Asked, Section, show_panel, value_of

_ENDS = ("from", "until", "to")  # of ranges of dates and numbers
_TOP = "."  # the library's own folder
_STARS = ("1", "2", "3", "4", "5")
_FIRST_DAY, _LAST_DAY = date(1826, 1, 1), date(2100, 12, 31)  # since the first photograph


def show_sidebar(
    opened: OpenLibrary,
    default_cut: float,
    why: str,
    text: str = "",
    picture: Upload | None = None,
) -> tuple[Filter, float | None]:
    """Draw the sidebar; returns the filters and the least relevance, which is None where it is
    left at the `default_cut`; `why` says what is special about that. Values are counted in the
    answer to the text and the picture, without both in the library."""
    set_cut = opened.settings.min_relevance
    usual = round(100 * (default_cut if set_cut is None else set_cut))
    with st.sidebar:
        _show_switcher()
        st.subheader("Narrow it down", anchor=False)
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
        least = None if untouched else percent / 100
        where = _show_filters(opened, text, picture, least)
        small(f"Library {opened.library} · encoder {opened.encoder_name}", key="about")
    return where, least


def _show_switcher() -> None:
    """The libraries of this installation, where there are more than one."""
    names, now = libraries(), page_settings().library
    if len(names) > 1 and now in names:
        st.session_state["library"] = now  # it may have been chosen by an address
        st.selectbox("Library", names, key="library", format_func=label, on_change=_switch)


def _switch() -> None:
    """Go to the chosen library; a callback. What was asked of the other one stays there."""
    name = str(st.session_state["library"])
    st.session_state.clear()
    st.query_params.clear()
    choose_library(name)


def _show_filters(
    opened: OpenLibrary, text: str, picture: Upload | None, min_relevance: float | None
) -> Filter:
    """Draw the panel of values and a widget for each other field; returns what is set."""
    library = opened.library
    names = {field.name for field in opened.fields}
    sections = list(_sections(opened, names))
    placed = [one for one in opened.fields if one.type == "geo" and has_values(library, one.name)]
    written = [one.name for one in sections if one.kind != "dates"]
    agree_with_address([*written, *(field.name for field in placed)])
    found = {one.field.name: _chosen_values(one) for one in sections}
    found |= {field.name: chosen_box(field) for field in placed}
    panel, others = st.container(key="filters"), st.container()
    ranges = [field for field in opened.fields if field.widget == "number_range"]
    words = [field for field in opened.fields if field.widget == "text"]
    dated = [one for one in sections if one.kind == "dates"]
    if dated or ranges or words:
        keys = [f"{PREFIX}{end}" for one in dated for end in one.ends]
        keys += [_end_key(f.name, end, names) for f in ranges for end in ("from", "to")]
        keys += [PREFIX + field.name for field in words]
        in_use = any(st.session_state.get(key) or key in st.query_params for key in keys)
        title = "Exact dates and more" if dated else "More filters"
        with others.expander(title, expanded=in_use):
            found |= {one.field.name: _date_range(one) for one in dated}
            found |= {field.name: _number_range(field, names) for field in ranges}
            found |= {field.name: _words(field) for field in words}
    conditions = {name: condition for name, condition in found.items() if condition}
    if sections:
        st.session_state["filter-ends"] = {one.name: one.ends for one in dated}
        with panel:
            asked = Asked(text, picture, min_relevance, conditions, opened.version)
            show_panel(library, asked, sections)
    with others:
        for field in placed:
            show_place_filter(opened, field)
    if conditions:
        others.button("Clear filters", on_click=clear_filters, key="clear", width="stretch")
    return tuple(conditions.values())


def _sections(opened: OpenLibrary, names: Collection[str]) -> Iterator[Section]:
    """The fields of the panel, those that have values."""
    library = opened.library
    for field in opened.fields:
        if field.name == "rating" and has_values(library, field.name):
            yield Section(field, "stars", _end(field.name, "from", names))
        elif field.widget == "date_range" and has_values(library, field.name):
            ends = (_end(field.name, "from", names), _end(field.name, "until", names))
            yield Section(field, "dates", field.name, ends)
        elif field.widget == "choice":
            values = choices(library, field.name)
            if values and not (field.hierarchical and values == [_TOP]):
                yield Section(field, "values", field.name)


def _chosen_values(one: Section) -> Condition | None:
    texts = chosen(one.name)
    if one.kind == "values" and texts:
        return OneOf(one.field.name, tuple(value_of(one.field, text) for text in texts))
    if one.kind == "stars" and texts and texts[0] in _STARS:
        return Range(one.field.name, at_least=float(texts[0]))
    return None


def clear_filters() -> None:
    """Remove all filters; a callback, since widgets can only be set before they are drawn."""
    _clear([str(key) for key in st.session_state if str(key).startswith(PREFIX)])


def clear_filter(name: str, fields: Sequence[PayloadField]) -> None:
    """Remove what this field is filtered by; a callback, as above."""
    names = {field.name for field in fields}
    ends = (_end_key(name, end, names) for end in _ENDS)
    _clear([key for key in (PREFIX + name, *ends) if key in st.session_state])


def _clear(keys: Sequence[str]) -> None:
    for key in keys:
        st.session_state[key] = [] if isinstance(st.session_state[key], list) else None


def _end(field: str, end: str, names: Collection[str]) -> str:
    """The name of one end of a range. It must not be that of a field: a column may be named
    'taken-from' beside 'taken'."""
    while f"{field}-{end}" in names:
        end += "_"
    return f"{field}-{end}"


def _end_key(field: str, end: str, names: Collection[str]) -> str:
    return PREFIX + _end(field, end, names)


def _date_range(one: Section) -> Condition | None:
    field = one.field
    after, until = (
        st.date_input(
            label(f"{field.label} {word}"),
            value=None,
            min_value=_FIRST_DAY,
            max_value=_LAST_DAY,
            format="YYYY-MM-DD",
            key=PREFIX + end,
            bind="query-params",
        )
        for word, end in zip(("from", "until"), one.ends, strict=True)
    )
    if not after and not until:
        return None
    return Range(
        field.name,
        at_least=_midnight(after) if after else None,
        below=_midnight(until + timedelta(days=1)) if until else None,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _number_range(field: PayloadField, names: Collection[str]) -> Condition | None:
    first, last = st.columns(2)
    step = 1 if field.type == "integer" else None
    bounds = [
        column.number_input(
            label(f"{field.label} {end}"),
            value=None,
            step=step,
            placeholder="any",
            key=_end_key(field.name, end, names),
            bind="query-params",
        )
        for column, end in ((first, "from"), (last, "to"))
    ]
    if bounds == [None, None]:
        return None
    return Range(field.name, at_least=bounds[0], at_most=bounds[1])


def _words(field: PayloadField) -> Condition | None:
    words = st.text_input(
        label(field.label),
        key=PREFIX + field.name,
        placeholder="all these words",
        bind="query-params",
    )
    return HasWords(field.name, words.strip()) if words and words.strip() else None
