"""The map of the page's library by likeness: read where it was made before, or made."""

from collections.abc import Callable
from itertools import islice

import numpy as np
import streamlit as st

from scenesearch.runtime.events import LOGGER
from scenesearch.search import library_map
from scenesearch.search.library_map import LibraryMap
from ui.jobs import Job
from ui.resources import job_store, leased_store, library_files
from ui.settings import page_settings

# The map of so few pictures is made while one waits: two seconds.
FEW = 400
# What is read of each picture; and what the layout's part of the work is, of a hundred.
_READ = ("captions", "tags")
_LAYOUT_SHARE = 60

TITLE = "Making the map of the library"


@st.cache_resource(show_spinner=False)
def _kept() -> dict[str, LibraryMap]:
    """Maps that were read or made, by collection: also where the folder cannot be written."""
    return {}


def read_map(collection: str) -> LibraryMap | None:
    """The latest map of the collection, None where none has been made."""
    found = _kept().get(collection)
    if found is None:
        found = library_map.read_map(library_files().folder / "layouts", collection)
        if found is not None:
            _kept()[collection] = found
    return found


def make_map(job: Job | None = None) -> None:
    """Make the map anew: in the background for a job, which is told how far it is."""
    folder, library = library_files().folder / "layouts", page_settings().library
    tick = _tick_of(job)
    with job_store(job) if job else leased_store() as store:
        collection, version = store.resolve(library), store.version(library)
        count, dimension = store.count(library), store.describe(library).dimension
        layout = library_map.read_layout(folder, collection)
        if layout is None or not layout.fits(count, dimension):
            layout = None
            # Points come in order of their ids, which are hashes: the first ones are a sample.
            first = islice(store.scroll(library, payload=(), with_vectors=True), library_map.SAMPLE)
            sample = [point.vector for point in first if point.vector is not None]
    if layout is None:  # while nobody has to wait for the library
        layout = library_map.fit(
            np.stack(sample),
            count,
            lambda done, total: tick(_LAYOUT_SHARE * done // total, "a sample is laid out"),
        )
    with job_store(job) if job else leased_store() as store:

        def placed(done: int) -> None:
            share = (100 - _LAYOUT_SHARE) * min(done, count) // max(count, 1)
            tick(_LAYOUT_SHARE + share, f"{done:,} pictures are placed")

        points = store.scroll(library, payload=_READ, with_vectors=True)
        made = library_map.map_of(
            points, layout, collection=collection, version=version, tick=placed
        )
    _kept()[collection] = made
    try:
        library_map.save(folder, made, layout)
    except OSError as error:
        LOGGER.warning("the map of %s is not saved: %s", library, error, extra={"event": "page"})


def _tick_of(job: Job | None) -> Callable[[int, str], None]:
    if job is None:
        return lambda done, detail: None
    return lambda done, detail: job.tick(done, 100, f"percent; {detail}")
