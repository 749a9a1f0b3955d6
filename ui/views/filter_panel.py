"""Values to filter by, each with its count in the answer: choices, a timeline to brush, stars.

One component (`ui/filters/`) draws them. It asks for the counts when the answer has been sent and
the panel is in sight. A new search ends the counting at the next field.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.search.facets import Counts
from scenesearch.search.request import QueryError, Request, Upload
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Condition, Filter
from ui.components import small
from ui.contents import MAX_CHOICES, choices
from ui.filters.chosen import PREFIX, choose, chosen
from ui.resources import OpenLibrary, open_library
from ui.scripts import component
from ui.settings import our_base

_KEY = "filter-panel"
_COUNTED = "filter-counts"
_TOP = "."  # the library's own folder


@dataclass(frozen=True)
class Asked:
    """What is counted: the answer to the text and the visitor's picture at this relevance (None:
    the library's default), under the conditions of the filters by field, in this version of the
    library."""

    text: str
    picture: Upload | None
    min_relevance: float | None
    conditions: Mapping[str, Condition]
    version: str

    @property
    def key(self) -> object:
        return (
            self.text,
            self.picture,
            self.min_relevance,
            tuple(self.conditions.items()),
            self.version,
        )

    def request(self, opened: OpenLibrary, where: Filter) -> Request:
        """The request without its filters, under these conditions."""
        request = opened.parse(self.text, where=where) if self.text else Request(where=where)
        if self.picture is None:
            return request
        return replace(request, parts=(self.picture, *request.parts))


@dataclass(frozen=True)
class Section:
    """A field in the panel. `name` is that of the choice in the address, `ends` those of a range
    of days."""

    field: PayloadField
    kind: str  # values, dates or stars
    name: str
    ends: tuple[str, str] = ("", "")


@st.fragment
def show_panel(library: str, asked: Asked, sections: Sequence[Section]) -> None:
    """Draw the panel. What is chosen in it is taken over before the page is drawn again."""
    told = st.session_state.get(_KEY) or {}
    if told.get("changed"):
        st.rerun()  # the answer is another one
    counts = _kept(asked)
    try:
        if counts is None and told.get("wanted"):
            counts = _count(asked, sections)
        drawn = [_section(library, one, counts or {}) for one in sections]
    except SceneSearchError:  # the answer beside it says what is wrong, and what to do
        small("The values cannot be counted now.", key="not-counted")
        return
    data = {
        "base": our_base(),
        "run": f"{hash(asked.key):x}",
        "pending": counts is None,
        "sections": drawn,
    }
    component("filters")(key=_KEY, data=data, on_changed_change=_take, on_wanted_change=_nothing)


def _nothing() -> None:
    """The run itself is what is wanted."""


def _take() -> None:
    """Take over what was chosen in the panel; a callback."""
    changed = (st.session_state.get(_KEY) or {}).get("changed") or {}
    name, values = str(changed.get("key", "")), list(changed.get("chosen", ()))
    ends = st.session_state.get("filter-ends", {}).get(name)
    if ends is None:
        choose(name, [str(value) for value in values])
        return
    for end, day in zip(ends, values, strict=True):
        with suppress(ValueError):  # another browser's date, or none of ours
            st.session_state[PREFIX + end] = date.fromisoformat(day) if day else None


# --- counting ----------------------------------------------------------------------------------


def _kept(asked: Asked) -> Mapping[str, Counts] | None:
    counted: tuple[object, Mapping[str, Counts]] | None = st.session_state.get(_COUNTED)
    return counted[1] if counted is not None and counted[0] == asked.key else None


def _count(asked: Asked, sections: Sequence[Section]) -> Mapping[str, Counts]:
    """The counts of each field's values in the answer. A field that is filtered by is counted
    without its own filter, so that its other values can be chosen too."""
    names = [one.field.name for one in sections if one.kind != "stars"]
    together = [name for name in names if name not in asked.conditions]
    alone = [[name] for name in names if name in asked.conditions]
    counts: dict[str, Counts] = {}
    with open_library() as opened:
        for some in ([together] if together else []) + alone:
            where = tuple(c for name, c in asked.conditions.items() if [name] != some)
            # A request that nobody wants any more ends here: Streamlit looks at each use of it.
            st.session_state[_COUNTED] = None
            try:
                found, _ = opened.searcher.count_values(
                    asked.request(opened, where),
                    facets=tuple(some),
                    min_relevance=asked.min_relevance or 0.0,
                    default_cut=asked.min_relevance is None,
                )
            except QueryError:  # the answer says what is wrong with it
                found = {}
            counts |= found
    st.session_state[_COUNTED] = asked.key, counts
    return counts


# --- what the component draws --------------------------------------------------------------------


def _section(library: str, one: Section, counts: Mapping[str, Counts]) -> dict[str, Any]:
    field = one.field
    drawn: dict[str, Any] = {"kind": one.kind, "key": one.name, "label": field.label}
    if one.kind == "stars":
        return drawn | {"chosen": chosen(one.name)}
    counted = dict(counts.get(field.name, ()))
    if one.kind == "dates":
        first, last = (st.session_state.get(PREFIX + end) for end in one.ends)
        bars = [[str(period), count] for period, count in counted.items()]
        return drawn | {
            "bars": bars,
            "from": first.isoformat() if first else "",
            "until": last.isoformat() if last else "",
        }
    known = choices(library, field.name)
    if field.name in counts:
        most = sorted(counted.items(), key=lambda item: -item[1])
        values: list[tuple[str, int | None]] = [(choice_text(v), count) for v, count in most]
        values += [(choice_text(value), 0) for value in known if value not in counted]
    else:
        values = [(choice_text(value), None) for value in known]
    return drawn | {
        "help": field.help,
        "values": values,
        "chosen": chosen(one.name),
        # With more values than are listed, a known one can be typed.
        "typed": field.type == "keyword" and len(known) >= MAX_CHOICES,
    }


def choice_text(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "top folder" if value == _TOP else str(value)


def value_of(field: PayloadField, text: str) -> str | bool:
    """The value that is shown as this text."""
    if field.type == "boolean":
        return text == "yes"
    return _TOP if field.hierarchical and text == "top folder" else text
