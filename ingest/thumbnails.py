"""Thumbnails and texts that no picture needs any longer, once its content was replaced or removed.

All collections of a library share them: one stays while any collection holds its content, also
that to which a rollback leads.
"""

import re
from contextlib import suppress
from pathlib import Path

from ingest.journal import Journal
from scenesearch.home.picture_texts import PictureTexts
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.store.base import IndexBusy, StoreError, VectorStore
from scenesearch.store.catalog import read_catalog
from scenesearch.store.filters import OneOf
from scenesearch.store.pages import OnWait, pages

_CONTENT = re.compile(r"[0-9a-f]{64}")


def delete_unused_thumbnails(
    store: VectorStore,
    library: str,
    journal: Journal,
    thumbnails_dir: Path | None,
    texts: PictureTexts | None = None,
) -> None:
    """Delete the thumbnails of the journal's loose contents that no collection holds, and what was
    read from these pictures.

    Contents that one still holds stay loose, as do all while another process has a collection.
    """
    live = store.aliases().get(library)
    others = [held.name for held in read_catalog(store).libraries.get(library, ())]
    others = [name for name in others if name != live]
    for part in journal.loose():
        unused = {sha256 for sha256 in part if _CONTENT.fullmatch(sha256)}
        done = [sha256 for sha256 in part if sha256 not in unused]
        if live is not None:
            used = _used(store, live, unused)
            unused -= used
            done += used
        try:
            for name in others:
                unused -= _used(store, name, unused)
        except IndexBusy:
            unused = set()
        for sha256 in unused:
            if thumbnails_dir is not None:
                thumbnail_path(thumbnails_dir, sha256).unlink(missing_ok=True)
        if texts is not None:
            texts.forget(unused)
        journal.tied([*done, *unused])
    for name in others:
        store.release(name)


def loosen_all(
    store: VectorStore, collection: str, journal: Journal, *, on_wait: OnWait | None = None
) -> None:
    """Note all contents of a collection that is about to be deleted, as loose."""
    with suppress(StoreError):  # a damaged one is deleted all the same
        for page in pages(store, collection, payload=("sha256",), on_wait=on_wait):
            journal.loosen(str(point.payload.get("sha256", "")) for point in page)


def _used(store: VectorStore, collection: str, hashes: set[str]) -> set[str]:
    where = (OneOf("sha256", tuple(hashes)),)
    points = store.scroll(collection, where=where, payload=("sha256",)) if hashes else ()
    # The engine finds a hash in a list too, which is handed out as none.
    return {str(point.payload.get("sha256", "")) for point in points} & hashes
