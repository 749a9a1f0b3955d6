"""The files that could not be added, each with its reason."""

import pandas as pd
import streamlit as st

from scenesearch.home.uploads import printable
from ui.components import start_and_rerun, table
from ui.ingest_jobs import start_retry
from ui.resources import library_files
from ui.settings import page_settings
from ui.views.errors import errors_shown
from ui.views.progress import show_progress

# Rows of a table on the screen; the download has all of them.
_MAX_ROWS = 500


def show() -> None:
    st.title("Left out", anchor=False)
    show_progress()
    with errors_shown(page_settings().library, shows_progress=True):
        _left_out()


def _left_out() -> None:
    rejects = library_files().read_rejects()
    if not rejects:
        st.text("Nothing was left out: every picture that was added is in the library.")
        return
    st.text(f"{len(rejects):,} files could not be added, each with its reason.")
    frame = pd.DataFrame(
        [
            {
                "file": printable(one.path),
                "reason": printable(one.reason),
                "last try": one.last_try,
                "tries": one.tries,
            }
            for one in rejects
        ]
    )
    table(frame.head(_MAX_ROWS), alt="Files that were left out", key="left-out")
    with st.container(horizontal=True):
        pictures = [one for one in rejects if one.image_id is not None]
        if pictures and st.button("Try them again", icon=":material/refresh:", key="retry-rejects"):
            start_and_rerun(lambda: start_retry(pictures), key="not-begun-retry")
        st.download_button(
            "Table (CSV)",
            frame.to_csv(index=False).encode("utf-8-sig", "replace"),
            file_name="left-out.csv",
            mime="text/csv",
            on_click="ignore",
        )
