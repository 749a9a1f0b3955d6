"""Adding pictures: from the visitor's device, from folders of this computer."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from scenesearch.datasets.manifest import MANIFEST_SUFFIXES
from scenesearch.errors import SceneSearchError
from scenesearch.home.uploads import (
    UploadError,
    allowed_folder,
    allowed_roots,
    count_pictures,
    save_manifest,
    save_picture,
    subfolders,
)
from scenesearch.pictures.formats import SUFFIXES
from ui.components import small
from ui.ingest_jobs import can_read_text, start_ingest
from ui.resources import library_files
from ui.settings import is_local, page_settings
from ui.views.errors import errors_shown
from ui.views.progress import show_progress


def show() -> None:
    st.title("Add pictures", anchor=False)
    show_progress()
    with errors_shown(page_settings().library, shows_progress=True):
        _add()


def _add() -> None:
    roots = allowed_roots(page_settings().page_folders, local=is_local())
    can_read = can_read_text()
    st.toggle(
        "Read the text in pictures",
        value=page_settings().ocr and can_read,
        disabled=not can_read,
        key="reads-text",
        help="Signs, screens, receipts and pages are then found by their words. It takes several "
        "times as long as adding them."
        if can_read
        else "The page's administrator can install it: pip install -e '.[ocr]'",
    )
    _upload()
    if not roots:
        small(
            "Folders of this computer cannot be added here. The page's administrator can allow "
            "some with SCENESEARCH_PAGE_FOLDERS.",
            key="no-folders",
        )
        return
    st.header("A folder on this computer", anchor=False)
    st.text_area(
        "Leave out (optional)",
        key="folder-exclude",
        height=68,
        placeholder="drafts/\n*.png",
        help="A pattern a line, as in a .gitignore file, relative to the folder. Patterns that "
        "always hold can stand in a file .scenesearchignore in the folder.",
    )
    _typed_folder(roots)
    _chosen_folder(roots)


def _upload() -> None:
    """Files from the visitor's device, saved in the library's own folder."""
    settings, folder = page_settings(), library_files().folder
    st.header("From your device", anchor=False)
    with st.form("upload", border=True, clear_on_submit=True):
        uploaded = st.file_uploader(
            "Pictures, and optionally a table that describes them (at most "
            f"{settings.page_upload_mb} MB each)",
            type=[suffix[1:] for suffix in sorted(SUFFIXES | MANIFEST_SUFFIXES)],
            accept_multiple_files=True,
            max_upload_size=settings.page_upload_mb,
            key="upload",
            help="The table is a CSV, TSV, JSON Lines or Parquet file with a column image; "
            "captions, tags and all further columns become searchable.",
        )
        if not st.form_submit_button("Add these", type="primary"):
            return
    pictures, manifests, refused = 0, [], []
    max_bytes = settings.page_upload_mb * 10**6
    for file in uploaded:
        name, data = file.name, file.getvalue()
        try:
            if Path(name).suffix.lower() in MANIFEST_SUFFIXES:
                manifests.append(save_manifest(name, data, folder / "tables", max_bytes=max_bytes))
            else:
                save_picture(name, data, folder / "uploads", max_bytes=max_bytes)
                pictures += 1
        except UploadError as error:
            refused.append(str(error))
        except OSError as error:
            refused.append(f"it cannot be saved here: {error.strerror}")
    for number, sentence in enumerate(refused):
        small(sentence, key=f"refused-{number}")
    if len(manifests) > 1:
        small("Only the last of several tables is used.", key="tables")
    if pictures or manifests:
        _add_folder(
            folder / "uploads",
            manifest=manifests[-1] if manifests else None,
            title=f"Adding {pictures} uploaded pictures",
            stay=bool(refused),
        )
    elif not uploaded:
        small("Choose pictures first.", key="nothing-chosen")


def _typed_folder(roots: Sequence[Path]) -> None:
    with st.form("folder", border=False):
        box, button = st.columns([5, 1], vertical_alignment="bottom")
        typed = box.text_input("Path of a folder", placeholder=str(roots[0]), key="folder-path")
        if button.form_submit_button("Add", width="stretch") and typed.strip():
            try:
                folder = allowed_folder(typed, roots)
            except UploadError as error:
                small(str(error), key="folder-refused")
            else:
                _add_folder(folder, exclude=_patterns(), title=f"Adding {folder}")


def _chosen_folder(roots: Sequence[Path]) -> None:
    """Browse the folders, for visitors who do not know the path."""
    here = Path(st.session_state.get("folder-here", str(roots[0])))
    if not any(here.is_relative_to(root) for root in roots):
        here = roots[0]
    with st.expander("Or browse for it", icon=":material/folder_open:"):
        if len(roots) > 1:
            places = [str(root) for root in roots]
            st.selectbox("Place", places, key="folder-root", on_change=_go_to_root)
        st.text(str(here))
        count = count_pictures(here)
        small(f"{count:,} pictures here, not counting its subfolders", key="folder-count")
        inside = subfolders(here)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.button(
                "Up",
                icon=":material/arrow_upward:",
                disabled=here in roots,
                on_click=_go_to,
                args=(here.parent,),
            )
            if st.button("Add this folder", type="primary", key="folder-add"):
                folder = allowed_folder(str(here), roots)
                _add_folder(folder, exclude=_patterns(), title=f"Adding {here}")
        if inside:
            chosen = st.selectbox(
                "Folders in it",
                inside,
                index=None,
                key=f"folder-in-{here}",
                placeholder="open …",
            )
            if chosen is not None:
                _go_to(here / chosen)
                st.rerun()


def _go_to_root() -> None:
    _go_to(Path(st.session_state["folder-root"]))


def _go_to(folder: Path) -> None:
    st.session_state["folder-here"] = str(folder)


def _patterns() -> list[str]:
    """What the visitor wants to leave out of the folder."""
    lines = str(st.session_state.get("folder-exclude", "")).splitlines()
    return [line for line in lines if line.strip()]


def _add_folder(
    folder: Path,
    *,
    title: str,
    manifest: Path | None = None,
    exclude: Sequence[str] = (),
    stay: bool = False,
) -> None:
    """Start adding it. With `stay` the page is not drawn again yet, so that the visitor can read
    which files were refused."""
    try:
        start_ingest(
            [folder],
            manifest=manifest,
            exclude=exclude,
            reads_text=bool(st.session_state.get("reads-text")),
            title=title,
        )
    except SceneSearchError as error:
        small(str(error), key="not-begun")
        return
    if not stay:
        st.rerun()
    st.button("Show the progress", key="to-progress")
