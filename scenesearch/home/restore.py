"""Restores a backup as a library, completely or not at all, even if the process is killed.

The files beside the collection (sources, saved requests, feedback) are in place before the alias
moves, which is one atomic step. Until then a journal in the library's folder says what to take
back. The next restore or ingest of that library does so, and starts from the beginning.

    <data dir>/libraries/<library>/restoring.json, restoring.lock
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, ValidationError

from scenesearch.home.backup import Backup, BackupError, Progress
from scenesearch.home.feedback import FILE_NAME, Feedback, Mark
from scenesearch.runtime.files import FILE_MODE, atomic_writer, private_folder
from scenesearch.store import catalog
from scenesearch.store.base import StoreError, VectorStore

_JOURNAL, _LOCK = "restoring.json", "restoring.lock"


@dataclass(frozen=True)
class SideFiles:
    """What a restore adds to the library's folder: files that do not exist yet, by name, and marks
    for pairs that have none yet."""

    folder: Path
    files: Mapping[Literal["sources.json", "saved-requests.json"], bytes] = field(
        default_factory=dict
    )
    marks: Sequence[Mark] = ()


class _Journal(BaseModel):
    """What to take back: the collection, files with their SHA-256 when written, marks."""

    collection: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    files: dict[Literal["sources.json", "saved-requests.json"], str] = {}
    marks: list[Mark] = []


def restore(
    store: VectorStore,
    backup: Backup,
    library: str,
    *,
    beside: SideFiles | None = None,
    replace_live: bool = False,
    on_progress: Progress | None = None,
) -> str:
    """Write a verified backup into a new collection, make it live, and return its name.

    An existing library of that name is refused, or with `replace_live` keeps its collection for a
    rollback. Whatever goes wrong, a reader never sees half a library, and the half is deleted; what
    a killed run left is deleted by the next one. Without `beside` (a store alone) there is no
    journal. Then leftovers are only found if the library has no live collection.
    """
    with nullcontext() if beside is None else _alone(library, beside.folder):
        if beside is not None:
            _take_back(store, library, beside.folder)
        taken = library in store.aliases()
        if taken and not replace_live:
            raise _exists(library)
        if not taken:
            for entry in catalog.read_catalog(store).libraries.get(library, ()):
                if entry.role == "building":
                    store.delete_collection(entry.name)
        name = catalog.next_name(store, library, backup.contents.spec.encoder)
        if beside is not None:
            _begin(beside, name)
        try:
            _fill(store, backup, library, name, on_progress)
            if beside is not None:
                _put(beside)
            if not replace_live and library in store.aliases():  # ingested in the meantime
                raise _exists(library)
            store.record(name, state="ready")
            catalog.promote(store, library, name)
        except BaseException:
            with suppress(StoreError):
                if beside is not None:
                    _take_back(store, library, beside.folder)
                elif store.aliases().get(library) != name and name in store.collections():
                    store.delete_collection(name)
            raise
        if beside is not None:
            (beside.folder / _JOURNAL).unlink()
    return name


def take_back_unfinished(store: VectorStore, library: str, folder: Path) -> None:
    """Delete what a killed restore of the library left; raises BackupError while one is running."""
    if (folder / _JOURNAL).exists():
        with _alone(library, folder):
            _take_back(store, library, folder)


def is_unfinished(folder: Path) -> bool:
    """Whether a restore is running in the library's folder, or was killed."""
    return (folder / _JOURNAL).exists()


def _fill(
    store: VectorStore, backup: Backup, library: str, name: str, on_progress: Progress | None
) -> None:
    contents = backup.contents
    spec = replace(contents.spec, library=library, state="building", previous="")
    store.create_collection(name, spec)
    written = 0
    for points in backup.chunks():
        store.upsert(name, points)
        written += len(points)
        if on_progress is not None:
            on_progress(written, contents.points)
    store.flush(name)
    if (found := store.count(name)) != written:
        raise BackupError(f"{contents.file} has {written} pictures, {found} could be stored")
    store.optimize(name)


def _begin(beside: SideFiles, collection: str) -> None:
    """Write the journal of what will be created, before any of it is."""
    files = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in beside.files.items()
        if not (beside.folder / name).exists()
    }
    marks: Sequence[Mark] = beside.marks
    if marks and (beside.folder / FILE_NAME).exists():
        with closing(Feedback(beside.folder / FILE_NAME)) as table:
            marks = table.lacking(marks)
    journal = _Journal(collection=collection, files=files, marks=list(marks))
    with atomic_writer(beside.folder / _JOURNAL, private=True) as out:
        out.write(journal.model_dump_json().encode())


def _put(beside: SideFiles) -> None:
    """Add what the library does not have yet."""
    for name, content in beside.files.items():
        if not (beside.folder / name).exists():
            with atomic_writer(beside.folder / name, private=True) as out:
                out.write(content)
    if beside.marks:
        with closing(Feedback(beside.folder / FILE_NAME)) as table:
            table.take_over(beside.marks)


def _take_back(store: VectorStore, library: str, folder: Path) -> None:
    """Undo what is in the journal, unless that restore was complete; can be repeated."""
    file = folder / _JOURNAL
    try:
        journal = _Journal.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return
    except ValidationError:
        raise StoreError(
            f"{file} is damaged: delete it, and with `scenesearch library prune {library} "
            "--unfinished` what that restore left"
        ) from None
    if not _was_live(store, library, journal.collection):
        if journal.collection in store.collections():
            if store.describe(journal.collection).library != library:
                raise StoreError(f"{file} names a collection of another library: delete it")
            store.delete_collection(journal.collection)
        for name, sha256 in journal.files.items():
            # A file that somebody has changed since stays.
            with suppress(FileNotFoundError):
                if hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256:
                    (folder / name).unlink()
        if journal.marks and (folder / FILE_NAME).exists():
            with closing(Feedback(folder / FILE_NAME)) as table:
                table.take_back(journal.marks)
    file.unlink()


def _was_live(store: VectorStore, library: str, collection: str) -> bool:
    live = store.aliases().get(library)
    # After a rollback the live collection names the one it has replaced.
    return live is not None and collection in (live, store.describe(live).previous)


@contextmanager
def _alone(library: str, folder: Path) -> Iterator[None]:
    private_folder(folder)
    lock = FileLock(folder / _LOCK, mode=FILE_MODE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BackupError(f"library {library} is being restored by another process") from None
    try:
        yield
    finally:
        lock.release()


def _exists(library: str) -> BackupError:
    return BackupError(
        f"library {library} already exists: --library NAME restores under another name, "
        "--replace makes the backup its live collection and keeps the present one for a rollback"
    )
