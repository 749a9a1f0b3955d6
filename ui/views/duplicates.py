"""Identical files, and pictures that look alike."""

import streamlit as st

from ui.components import small
from ui.contents import statistics
from ui.pictures import Picture
from ui.resources import OpenLibrary, open_library
from ui.settings import page_settings
from ui.views.errors import errors_shown

_MAX_GROUPS = 20


def show() -> None:
    st.title("Duplicates", anchor=False)
    with errors_shown(page_settings().library), open_library() as opened:
        _duplicates(opened)


def _duplicates(opened: OpenLibrary) -> None:
    """Identical files, and pictures that look alike; nothing is removed."""
    groups = statistics(opened).duplicates
    if not groups:
        st.text("No two pictures are the same or nearly the same.")
        return
    noun = "picture is" if len(groups) == 1 else "pictures are"
    st.text(f"{len(groups):,} {noun} in the library more than once.")
    points = opened.store.retrieve(opened.library, [one.first for one in groups[:_MAX_GROUPS]])
    for number, group in enumerate(groups[:_MAX_GROUPS]):
        if group.first not in points:
            continue
        image, words = st.columns([1, 4])
        picture = Picture(group.first, points[group.first].payload)
        image.image(picture.thumbnail(), width=120, alt=group.first)
        lines = [group.first]
        lines += [f"{image_id} (an identical file)" for image_id in group.copies]
        lines += [f"{image_id} (looks the same)" for image_id, _ in group.near]
        with words:
            small("\n".join(lines), key=f"duplicates-{number}")
    if len(groups) > _MAX_GROUPS:
        small(f"and {len(groups) - _MAX_GROUPS:,} more", key="more-duplicates")
