"""The values that a visitor has chosen to filter by: in the session, and in the page's address.

Streamlit's own widgets are bound to the address; the panel of values, `ui.views.filter_panel`, is
none of them. The address counts where somebody else has changed it: a link, Back, another view.
"""

from collections.abc import Collection, Sequence

import streamlit as st

# Of the widgets' keys, which are also the names in the page's address.
PREFIX = "where-"

# What the address said when it and the session agreed last.
_AGREED = "filters-in-address"


def chosen(name: str) -> list[str]:
    """The values chosen for a field, as texts."""
    return list(st.session_state.get(PREFIX + name) or ())


def choose(name: str, values: Sequence[str]) -> None:
    """Filter by these values of the field alone; none of them: by any."""
    st.session_state[PREFIX + name] = list(dict.fromkeys(values))


def agree_with_address(names: Collection[str]) -> None:
    """Take what the address says of these fields, or write what was chosen into it."""
    keys = [PREFIX + name for name in names]
    address = {key: st.query_params.get_all(key) for key in keys if key in st.query_params}
    ours = {key: list(st.session_state[key]) for key in keys if st.session_state.get(key)}
    if address != st.session_state.get(_AGREED, {}):
        for key in keys:
            st.session_state[key] = address.get(key, [])
        ours = address
    elif ours != address:
        for key in keys:
            if key in ours:
                st.query_params[key] = ours[key]
            elif key in address:
                del st.query_params[key]
    st.session_state[_AGREED] = ours
