"""The library's collections: building one with another encoder, promoting it, going back."""

from collections.abc import Sequence
from typing import NoReturn

import pandas as pd
import streamlit as st

from scenesearch.encoder.registry import bundled_encoders, shelved_encoders
from scenesearch.evaluation.output_folder import ComparisonError
from scenesearch.evaluation.promotion import check_promotion, read_current_evaluation
from scenesearch.store.base import CollectionMissing, IndexBusy, StoreError, VectorStore
from scenesearch.store.catalog import CatalogEntry, collections_of, promote, rollback_target
from ui.components import absent, label, say_and_rerun, small, start_and_rerun, table
from ui.ingest_jobs import start_build
from ui.resources import api_library, installation, leased_store, library_files
from ui.settings import page_settings
from ui.views.errors import errors_shown
from ui.views.progress import show_progress

# Of the session: the live collection, the one that may replace it, and what speaks against that.
_ASKED = "promote-objections"


def show() -> None:
    st.title("Encoders", anchor=False)
    show_progress()
    with errors_shown(page_settings().library, shows_progress=True):
        if (server := api_library()) is not None:
            rows = pd.DataFrame(server.encoders())
            st.dataframe(rows, hide_index=True, alt="Encoders of the server")
            absent("Encoders are changed on the server: scenesearch library build and promote.")
            return
        with leased_store() as store:
            _collections(store)


def _collections(store: VectorStore) -> None:
    settings = page_settings()
    collections = collections_of(store, settings.library)
    rows = [
        {
            "collection": one.name,
            "state": one.role,
            "encoder": one.spec.encoder,
            "pictures": _count(store, one.name),
            "made": one.spec.created[:10],
        }
        for one in collections
    ]
    table(pd.DataFrame(rows), alt="Collections of the library", key="collections")
    small(
        "A collection holds the pictures as one encoder sees them. Another one is built while the "
        "live one keeps answering searches; promoting switches over at once, and can be undone.",
        key="collections",
    )
    _build()
    _promote(store, collections)
    _roll_back(store, collections)


def _count(store: VectorStore, name: str) -> str:
    try:
        return f"{store.count(name):,}"
    except IndexBusy:
        return "in use"


def _build() -> None:
    with st.form("build", border=True):
        names = dict.fromkeys([*bundled_encoders(), *shelved_encoders(page_settings().models_dir)])
        name = st.selectbox("Encoder", list(names), key="build-encoder")
        if st.form_submit_button("Build a collection with it"):
            start_and_rerun(lambda: start_build(name), key="not-begun-build")


def _promote(store: VectorStore, collections: Sequence[CatalogEntry]) -> None:
    ready = [one.name for one in collections if one.role in ("ready", "previous")]
    if not ready:
        return
    live = next((one.name for one in collections if one.role == "live"), None)
    with st.form("promote", border=True):
        name = st.selectbox("Collection", ready, index=len(ready) - 1, key="promote-which")
        if st.form_submit_button("Promote it"):
            objections = () if live is None else _objections(store, live, name)
            if not objections:
                _make_live(store, name)
            st.session_state[_ASKED] = live, name, objections
    asked_live, asked_name, objections = st.session_state.get(_ASKED, (None, None, ()))
    if objections and asked_live == live and asked_name in ready:
        _ask_again(store, asked_name, objections)


def _ask_again(store: VectorStore, name: str, objections: Sequence[str]) -> None:
    """What speaks against the promotion, and the two ways on."""
    with st.container(border=True, key="promote-asked"):
        st.subheader(f":material/warning: Promote {label(name)} all the same?", anchor=False)
        for objection in objections:
            st.text(objection)
        with st.container(horizontal=True):
            if st.button("Keep the live one", type="primary", key="promote-not"):
                del st.session_state[_ASKED]
                st.rerun()
            if st.button("Promote anyway", key="promote-anyway"):
                del st.session_state[_ASKED]
                _make_live(store, name)


def _make_live(store: VectorStore, name: str) -> NoReturn:
    promote(store, page_settings().library, name)
    say_and_rerun(f"{name} is live")


def _objections(store: VectorStore, live: str, new: str) -> tuple[str, ...]:
    """What to read before the new collection is promoted: pictures that it lacks, a measurement
    in which it is worse or may be."""
    folder = library_files().folder
    try:
        found = check_promotion(
            store,
            live,
            new,
            None
            if installation().has_replaced(store.describe(live))
            else lambda name, _: read_current_evaluation(store, folder, name),
            hint=lambda _: "build it again to bring it up to date",
        )
    except ComparisonError as error:
        return (f"{error}: Manage → Evaluation measures both",)
    if found.warnings and not found.reasons:
        return (*found.warnings, f"A is the live one, {live}, and B the new one, {new}")
    return found.warnings


def _roll_back(store: VectorStore, collections: Sequence[CatalogEntry]) -> None:
    if len(collections) < 2:
        return
    library = page_settings().library
    try:
        target = rollback_target(store, library)
    except (StoreError, CollectionMissing):
        return
    if st.button(f"Roll back to {label(target)}", icon=":material/undo:", key="rollback"):
        promote(store, library, target)
        st.cache_data.clear()
        st.rerun()
