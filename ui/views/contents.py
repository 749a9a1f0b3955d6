"""What is in the library: counts, formats, years."""

import pandas as pd
import streamlit as st

from ui.components import small, table
from ui.contents import statistics
from ui.resources import OpenLibrary, open_library
from ui.settings import page_settings
from ui.views.errors import errors_shown


def show() -> None:
    st.title("Contents", anchor=False)
    with errors_shown(page_settings().library), open_library() as opened:
        _contents(opened)


def _contents(opened: OpenLibrary) -> None:
    store, library = opened.store, opened.library
    spec = store.describe(library)
    count = store.count(library)
    with st.container(key="figures"):
        first, second, third = st.columns(3)
    first.metric("Pictures", f"{count:,}")
    second.metric("Encoder", spec.encoder)
    third.metric("Created", spec.created[:10] or "earlier")
    engine = f"{store.resolve(library)} · {spec.dimension} dimensions · {store.health()}"
    small(engine, key="engine")
    if count == 0:
        st.text("Nothing has been added yet.")
        return
    counts = statistics(opened)
    left, right = st.columns(2)
    with left:
        small("Formats", key="formats")
        formats = counts.formats.most_common()
        frame = pd.DataFrame(formats, columns=["format", "pictures"])
        table(frame, alt="Pictures of each format", key="formats")
    with right:
        small("Years", key="years")
        years = sorted(counts.years.items(), reverse=True)
        frame = pd.DataFrame(years, columns=["year", "pictures"])
        table(frame, alt="Pictures of each year", key="years")
    small(
        f"{_size(counts.size_bytes)} of originals · {counts.captioned:,} with captions"
        f" · {counts.located:,} with a place",
        key="facts",
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
