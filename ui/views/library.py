"""What is in the library, and everything that changes it: adding, retrying, building, promoting."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
import streamlit as st

from scenesearch.datasets.manifest import MANIFEST_SUFFIXES
from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.output_folder import ComparisonError
from scenesearch.evaluation.promotion import check_promotion, read_current_evaluation
from scenesearch.home.rejects import Reject
from scenesearch.pictures.duplicates import Group
from scenesearch.pictures.formats import SUFFIXES
from scenesearch.store.base import CollectionMissing, IndexBusy, StoreError, VectorStore
from scenesearch.store.catalog import Held, collections_of, promote, rollback_target
from ui import launch, resources
from ui.components import label, small
from ui.pictures import original_of, thumbnail
from ui.resources import Opened
from ui.uploads import (
    UploadError,
    allowed_roots,
    confined,
    keep_manifest,
    keep_picture,
    pictures_in,
    printable,
    subfolders,
)
from ui.views.failures import told_in_words
from ui.views.progress import show_progress

# Rows of a table on the screen; the whole of it is in the download.
_MOST_ROWS = 500
_MOST_GROUPS = 20


def show() -> None:
    settings = resources.settings()
    st.title("Library", anchor=False)
    show_progress()
    parts = {
        "Contents": _contents,
        "Add pictures": _add,
        "Left out": _left_out,
        "Duplicates": _duplicates,
        "Encoders": _collections,
    }
    if settings.page_read_only:
        del parts["Add pictures"]
        small("This page is for reading: nothing can be added or changed here.", key="read-only")
    part = st.segmented_control(
        "Part of the library",
        list(parts),
        default="Contents",
        required=True,
        key="part",
        label_visibility="collapsed",
        persist_state="session",
    )
    with told_in_words(settings.library, shows_progress=True):
        parts[part or "Contents"]()


# --- contents --------------------------------------------------------------------------------


def _contents() -> None:
    with resources.searching() as opened:
        _show_contents(opened)


def _show_contents(opened: Opened) -> None:
    store, library = opened.store, opened.library
    spec = store.describe(library)
    count = store.count(library)
    first, second, third = st.columns(3)
    first.metric("Pictures", f"{count:,}")
    second.metric("Encoder", spec.encoder)
    third.metric("Made", spec.created[:10] or "earlier")
    engine = f"{store.resolve(library)} · {spec.dimension} dimensions"
    if resources.shows_paths(opened.settings):
        engine += f" · {store.health()}"
    small(engine, key="engine")
    if count == 0:
        st.text("Nothing has been added yet.")
        return
    facts = resources.facts(library, store.resolve(library), count)
    left, right = st.columns(2)
    with left:
        small("Formats", key="formats")
        formats = facts.formats.most_common()
        st.dataframe(pd.DataFrame(formats, columns=["format", "pictures"]), hide_index=True)
    with right:
        small("Years", key="years")
        years = sorted(facts.years.items(), reverse=True)
        st.dataframe(pd.DataFrame(years, columns=["year", "pictures"]), hide_index=True)
    told = f"{_size(facts.size_bytes)} of originals · {facts.captioned:,} with captions"
    if resources.shows_places(opened.settings):
        told += f" · {facts.located:,} with a place"
    small(told, key="facts")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


# --- adding ----------------------------------------------------------------------------------


def _add() -> None:
    roots = allowed_roots(resources.settings().page_folders, local=launch.is_local())
    _upload()
    if not roots:
        small(
            "Folders of this computer cannot be added here: whoever runs the page allows some with "
            "SCENESEARCH_PAGE_FOLDERS.",
            key="no-folders",
        )
        return
    st.subheader("A folder on this computer", anchor=False)
    _typed_folder(roots)
    _chosen_folder(roots)


def _upload() -> None:
    """Files from the visitor's machine, kept in the library's own folder."""
    settings = resources.settings()
    own = settings.library_dir(settings.library)
    st.subheader("From your device", anchor=False)
    with st.form("upload", border=True, clear_on_submit=True):
        brought = st.file_uploader(
            f"Pictures, and perhaps a table that describes them (at most {settings.page_upload_mb} "
            "MB each)",
            type=[suffix[1:] for suffix in sorted(SUFFIXES | MANIFEST_SUFFIXES)],
            accept_multiple_files=True,
            max_upload_size=settings.page_upload_mb,
            key="upload",
            help="The table is a CSV, TSV, JSON Lines or Parquet file with a column image; "
            "captions, tags and every further column become searchable.",
        )
        if not st.form_submit_button("Add these", type="primary"):
            return
    kept, manifests, refused = 0, [], []
    for file in brought:
        table = Path(file.name).suffix.lower() in MANIFEST_SUFFIXES
        try:
            most = settings.page_upload_mb * 10**6
            if table:
                manifests.append(
                    keep_manifest(file.name, file.getvalue(), own / "tables", most_bytes=most)
                )
            else:
                keep_picture(file.name, file.getvalue(), own / "uploads", most_bytes=most)
                kept += 1
        except UploadError as error:
            refused.append(str(error))
        except OSError as error:
            refused.append(f"it cannot be kept here: {error.strerror}")
    for number, sentence in enumerate(refused):
        small(sentence, key=f"refused-{number}")
    if len(manifests) > 1:
        small("Of several tables the last one is read.", key="tables")
    if kept or manifests:
        _begin(
            [own / "uploads"],
            manifest=manifests[-1] if manifests else None,
            title=f"Adding {kept} uploaded pictures",
            stay=bool(refused),
        )
    elif not brought:
        small("Choose pictures first.", key="nothing-chosen")


def _typed_folder(roots: Sequence[Path]) -> None:
    with st.form("folder", border=False):
        box, button = st.columns([5, 1], vertical_alignment="bottom")
        typed = box.text_input("Path of a folder", placeholder=str(roots[0]), key="folder-path")
        if button.form_submit_button("Add", width="stretch") and typed.strip():
            try:
                folder = confined(typed, roots)
            except UploadError as error:
                small(str(error), key="folder-refused")
            else:
                _begin([folder], title=f"Adding {folder}")


def _chosen_folder(roots: Sequence[Path]) -> None:
    """A walk through the folders, for who knows no path."""
    here = Path(st.session_state.get("folder-here", str(roots[0])))
    if not any(here.is_relative_to(root) for root in roots):
        here = roots[0]
    with st.expander("Or look for it", icon=":material/folder_open:"):
        if len(roots) > 1:
            places = [str(root) for root in roots]
            st.selectbox("Place", places, key="folder-root", on_change=_to_root)
        st.text(str(here))
        count = pictures_in(here)
        small(f"{count:,} pictures here, without those in its folders", key="folder-count")
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
                _begin([confined(str(here), roots)], title=f"Adding {here}")
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


def _to_root() -> None:
    _go_to(Path(st.session_state["folder-root"]))


def _go_to(folder: Path) -> None:
    st.session_state["folder-here"] = str(folder)


def _begin(
    folders: Sequence[Path], *, title: str, manifest: Path | None = None, stay: bool = False
) -> None:
    try:
        resources.start_ingest(folders, manifest=manifest, title=title)
    except SceneSearchError as error:
        small(str(error), key="not-begun")
        return
    if not stay:  # what was refused is to be read first
        st.rerun()
    st.button("Show the progress", key="to-progress")


# --- what was left out -----------------------------------------------------------------------


def _left_out() -> None:
    rejects = resources.rejects(resources.settings().library)
    if not rejects:
        st.text("Nothing: every picture that was added is in the library.")
        return
    st.text(f"{len(rejects):,} files could not be added, each with its reason.")
    with_paths = resources.shows_paths(resources.settings())
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
    st.dataframe(frame.head(_MOST_ROWS), hide_index=True, alt="Files that were left out")
    with st.container(horizontal=True):
        pictures = [one for one in rejects if one.image_id is not None]
        if (
            pictures
            and not resources.settings().page_read_only
            and st.button("Try them again", icon=":material/refresh:", key="retry-rejects")
        ):
            _retry(pictures)
        st.download_button(
            "Table (CSV)",
            frame.to_csv(index=False).encode("utf-8-sig", "replace"),
            file_name="left-out.csv",
            mime="text/csv",
            on_click="ignore",
        )


def _retry(rejects: Sequence[Reject]) -> None:
    try:
        resources.start_retry(rejects)
    except SceneSearchError as error:
        small(str(error), key="not-begun-retry")
    else:
        st.rerun()


# --- duplicates ------------------------------------------------------------------------------


def _duplicates() -> None:
    """Files of the same content, and pictures that look alike; nothing is removed."""
    with resources.searching() as opened:
        count = opened.store.count(opened.library)
        groups = resources.facts(opened.library, opened.store.resolve(opened.library), count).twins
        if not groups:
            st.text("No two pictures are the same or nearly the same.")
            return
        noun = "picture is" if len(groups) == 1 else "pictures are"
        st.text(f"{len(groups):,} {noun} there more than once.")
        firsts = [group.first for group in groups[:_MOST_GROUPS]]
        points = opened.store.retrieve(opened.library, firsts)
        for number, group in enumerate(groups[:_MOST_GROUPS]):
            if group.first in points:
                _show_group(opened, group, points[group.first].payload, number)
        if len(groups) > _MOST_GROUPS:
            small(f"and {len(groups) - _MOST_GROUPS:,} more", key="more-twins")


def _show_group(opened: Opened, group: Group, payload: Mapping[str, Any], number: int) -> None:
    picture, words = st.columns([1, 4])
    image = thumbnail(
        opened.thumbnails_dir,
        str(payload.get("sha256", "")),
        original_of(payload),
        opened.settings.max_megapixels,
    )
    picture.image(image, width=120, alt=group.first)
    lines = [group.first]
    lines += [f"{image_id} (the very same file)" for image_id in group.copies]
    lines += [f"{image_id} (looks the same)" for image_id, _ in group.near]
    with words:
        small("\n".join(lines), key=f"twins-{number}")


# --- collections: build, promote, roll back ----------------------------------------------------


def _collections() -> None:
    with resources.opened_library(resources.settings().library) as store:
        _show_collections(store)


def _show_collections(store: VectorStore) -> None:
    settings = resources.settings()
    held = collections_of(store, settings.library)
    rows = [
        {
            "collection": one.name,
            "state": one.role,
            "encoder": one.spec.encoder,
            "pictures": _count(store, one.name),
            "made": one.spec.created[:10],
        }
        for one in held
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Collections of the library")
    small(
        "A collection holds the pictures as one encoder sees them. Another one is built beside the "
        "live one, which keeps answering; promoting changes over at once, and can be taken back.",
        key="collections",
    )
    if settings.page_read_only:
        return
    _build()
    _promote(store, held)
    _roll_back(store, held)


def _count(store: VectorStore, name: str) -> str:
    try:
        return f"{store.count(name):,}"
    except IndexBusy:
        return "in use"


def _build() -> None:
    with st.form("build", border=True):
        names = resources.encoder_names()
        name = st.selectbox("Encoder", names, key="build-encoder")
        if st.form_submit_button("Build a collection with it"):
            try:
                resources.start_build(name)
            except SceneSearchError as error:
                small(str(error), key="not-begun-build")
            else:
                st.rerun()


def _promote(store: VectorStore, held: Sequence[Held]) -> None:
    ready = [one.name for one in held if one.role in ("ready", "previous")]
    if not ready:
        return
    with st.form("promote", border=True):
        name = st.selectbox("Collection", ready, index=len(ready) - 1, key="promote-which")
        force = st.checkbox(
            "Promote it even if it is not measured, or answers worse", key="promote-force"
        )
        if not st.form_submit_button("Promote it"):
            return
    live = next((one.name for one in held if one.role == "live"), None)
    reasons = [] if force or live is None else list(_objections(store, live, name))
    for number, reason in enumerate(reasons):
        small(reason, key=f"objection-{number}")
    if not reasons:
        promote(store, resources.settings().library, name)
        st.cache_data.clear()
        st.toast(f"{label(name)} is live", icon=":material/check_circle:")
        st.rerun()


def _objections(store: VectorStore, live: str, new: str) -> Iterator[str]:
    """What speaks against the new collection: pictures that it lacks, answers that are worse."""
    own = resources.settings().library_dir(resources.settings().library)
    try:
        found = check_promotion(
            store,
            live,
            new,
            lambda name, _: read_current_evaluation(store, own, name),
            hint=lambda _: "build it again to bring it up to date",
        )
    except ComparisonError as error:
        yield f"{error}: the view Evaluation measures both"
        return
    yield from found.reasons
    if found.doubt and not found.reasons:
        st.toast(label(found.doubt))


def _roll_back(store: VectorStore, held: Sequence[Held]) -> None:
    if len(held) < 2:
        return
    library = resources.settings().library
    try:
        target = rollback_target(store, library)
    except (StoreError, CollectionMissing):
        return
    if st.button(f"Roll back to {label(target)}", icon=":material/undo:", key="rollback"):
        promote(store, library, target)
        st.cache_data.clear()
        st.rerun()
