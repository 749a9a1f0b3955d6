"""What is in the library, and all that changes it: adding, retrying, building, promoting."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

import pandas as pd
import streamlit as st

from scenesearch.datasets.manifest import MANIFEST_SUFFIXES
from scenesearch.encoder.registry import bundled_encoders, shelved_encoders
from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.output_folder import ComparisonError
from scenesearch.evaluation.promotion import check_promotion, read_current_evaluation
from scenesearch.pictures.formats import SUFFIXES
from scenesearch.store.base import CollectionMissing, IndexBusy, StoreError, VectorStore
from scenesearch.store.catalog import CatalogEntry, collections_of, promote, rollback_target
from ui.access import shows_paths, shows_places
from ui.components import choose_part, label, small, start_and_rerun
from ui.contents import statistics
from ui.ingest_jobs import start_build, start_ingest, start_retry
from ui.pictures import Picture
from ui.resources import OpenLibrary, leased_store, library_files, open_library
from ui.settings import is_local, page_settings
from ui.uploads import (
    UploadError,
    allowed_folder,
    allowed_roots,
    count_pictures,
    printable,
    save_manifest,
    save_picture,
    subfolders,
)
from ui.views.errors import errors_shown
from ui.views.progress import show_progress

# Rows of a table on the screen; the download has all of them.
_MAX_ROWS = 500
_MAX_GROUPS = 20


def show() -> None:
    settings = page_settings()
    st.title("Library", anchor=False)
    show_progress()
    parts = ["Contents", "Add pictures", "Left out", "Duplicates", "Encoders"]
    if settings.page_read_only:
        parts.remove("Add pictures")
        small("This page is read-only: nothing can be added or changed here.", key="read-only")
    part = choose_part("Part of the library", parts, key="part")
    with errors_shown(settings.library, shows_progress=True):
        if part == "Add pictures":
            _add()
        elif part == "Left out":
            _left_out()
        elif part == "Encoders":
            with leased_store() as store:
                _collections(store)
        elif part == "Duplicates":
            with open_library() as opened:
                _duplicates(opened)
        else:
            with open_library() as opened:
                _contents(opened)


# --- contents --------------------------------------------------------------------------------


def _contents(opened: OpenLibrary) -> None:
    store, library = opened.store, opened.library
    spec = store.describe(library)
    count = store.count(library)
    first, second, third = st.columns(3)
    first.metric("Pictures", f"{count:,}")
    second.metric("Encoder", spec.encoder)
    third.metric("Created", spec.created[:10] or "earlier")
    engine = f"{store.resolve(library)} · {spec.dimension} dimensions"
    if shows_paths(opened.settings):
        engine += f" · {store.health()}"
    small(engine, key="engine")
    if count == 0:
        st.text("Nothing has been added yet.")
        return
    counts = statistics(opened)
    left, right = st.columns(2)
    with left:
        small("Formats", key="formats")
        formats = counts.formats.most_common()
        st.dataframe(pd.DataFrame(formats, columns=["format", "pictures"]), hide_index=True)
    with right:
        small("Years", key="years")
        years = sorted(counts.years.items(), reverse=True)
        st.dataframe(pd.DataFrame(years, columns=["year", "pictures"]), hide_index=True)
    summary = f"{_size(counts.size_bytes)} of originals · {counts.captioned:,} with captions"
    if shows_places(opened.settings):
        summary += f" · {counts.located:,} with a place"
    small(summary, key="facts")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


# --- adding ----------------------------------------------------------------------------------


def _add() -> None:
    roots = allowed_roots(page_settings().page_folders, local=is_local())
    _upload()
    if not roots:
        small(
            "Folders of this computer cannot be added here. The page's administrator can allow "
            "some with SCENESEARCH_PAGE_FOLDERS.",
            key="no-folders",
        )
        return
    st.subheader("A folder on this computer", anchor=False)
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
    st.subheader("From your device", anchor=False)
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
        start_ingest([folder], manifest=manifest, exclude=exclude, title=title)
    except SceneSearchError as error:
        small(str(error), key="not-begun")
        return
    if not stay:
        st.rerun()
    st.button("Show the progress", key="to-progress")


# --- what was left out -----------------------------------------------------------------------


def _left_out() -> None:
    rejects = library_files().read_rejects()
    if not rejects:
        st.text("Nothing was left out: every picture that was added is in the library.")
        return
    st.text(f"{len(rejects):,} files could not be added, each with its reason.")
    settings = page_settings()
    with_paths = shows_paths(settings)
    frame = pd.DataFrame(
        [
            {
                "file": printable(one.path if with_paths else PurePath(one.path).name),
                "reason": printable(one.reason),
                "last try": one.last_try,
                "tries": one.tries,
            }
            for one in rejects
        ]
    )
    st.dataframe(frame.head(_MAX_ROWS), hide_index=True, alt="Files that were left out")
    with st.container(horizontal=True):
        pictures = [one for one in rejects if one.image_id is not None]
        if (
            pictures
            and not settings.page_read_only
            and st.button("Try them again", icon=":material/refresh:", key="retry-rejects")
        ):
            start_and_rerun(lambda: start_retry(pictures), key="not-begun-retry")
        st.download_button(
            "Table (CSV)",
            frame.to_csv(index=False).encode("utf-8-sig", "replace"),
            file_name="left-out.csv",
            mime="text/csv",
            on_click="ignore",
        )


# --- duplicates ------------------------------------------------------------------------------


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


# --- collections: build, promote, roll back ----------------------------------------------------


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
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Collections of the library")
    small(
        "A collection holds the pictures as one encoder sees them. Another one is built while the "
        "live one keeps answering searches; promoting switches over at once, and can be undone.",
        key="collections",
    )
    if settings.page_read_only:
        return
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
    with st.form("promote", border=True):
        name = st.selectbox("Collection", ready, index=len(ready) - 1, key="promote-which")
        force = st.checkbox(
            "Promote it even if it is not measured or scores worse", key="promote-force"
        )
        if not st.form_submit_button("Promote it"):
            return
    live = next((one.name for one in collections if one.role == "live"), None)
    reasons = [] if force or live is None else list(_objections(store, live, name))
    for number, reason in enumerate(reasons):
        small(reason, key=f"objection-{number}")
    if not reasons:
        promote(store, page_settings().library, name)
        st.cache_data.clear()
        st.toast(f"{label(name)} is live", icon=":material/check_circle:")
        st.rerun()


def _objections(store: VectorStore, live: str, new: str) -> Iterator[str]:
    """Reasons against the new collection: pictures that it lacks, scores that are worse."""
    folder = library_files().folder
    try:
        found = check_promotion(
            store,
            live,
            new,
            lambda name, _: read_current_evaluation(store, folder, name),
            hint=lambda _: "build it again to bring it up to date",
        )
    except ComparisonError as error:
        yield f"{error}: the view Evaluation measures both"
        return
    yield from found.reasons
    if found.doubt and not found.reasons:
        st.toast(label(found.doubt))


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
