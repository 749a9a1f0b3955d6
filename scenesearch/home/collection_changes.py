"""What goes by a collection's name, and so must follow when it gets another one."""

from dataclasses import replace

from scenesearch.home.collection_watch import forget_watched, rename_watched
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.saved_collections import (
    SavedCollection,
    change_collection,
    checked_name,
    delete_collection,
)
from scenesearch.home.webhooks import Webhooks


def rename_collection(files: LibraryFiles, name: str, new: str) -> SavedCollection:
    """The collection under its new name, with what watches it; raises CollectionError."""
    new = checked_name(new)
    changed = change_collection(files.saved_requests, name, lambda one: replace(one, name=new))
    rename_watched(files.folder, name, new)
    if Webhooks.exist(files.folder):
        with Webhooks(files.folder) as webhooks:
            webhooks.rename_collection(name, new)
    return changed


def remove_collection(files: LibraryFiles, name: str) -> None:
    """Delete the collection; its webhooks stay, and say that it is gone. Raises CollectionError."""
    delete_collection(files.saved_requests, name)
    forget_watched(files.folder, name)
