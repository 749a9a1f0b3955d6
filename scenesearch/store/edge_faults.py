"""What a failure of the disk or of the embedded engine means."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenesearch.errors import obstacle
from scenesearch.store.base import IndexBusy, StoreError, StoreUnavailable


@contextmanager
def disk_faults(name: str, root: Path) -> Iterator[None]:
    """Raise StoreUnavailable for an OSError in the store at `root`."""
    try:
        yield
    except OSError as error:
        place = error.filename or root
        why = obstacle(error) or error.strerror or error
        raise StoreUnavailable(f"cannot use {name}: {place}: {why}") from error


@contextmanager
def engine_faults(folder: Path, *, opening: bool = False) -> Iterator[None]:
    """Raise StoreError for a failure of the engine in the folder of a collection."""
    try:
        yield
    except (StoreError, ValueError, TypeError):
        raise
    except Exception as error:
        raise _translated(error, folder, opening) from error
    except BaseException as error:
        # A failed check inside the engine arrives as pyo3's PanicException.
        if type(error).__name__ != "PanicException":
            raise
        raise _translated(error, folder, opening) from error


def _translated(error: BaseException, folder: Path, opening: bool) -> StoreError:
    """Only a collection that does not open, though all its files can be read, is damaged."""
    collection, text = folder.name, " ".join(str(error).split())[:300]
    if "WouldBlock" in text:  # opened by a program that does not know our lock
        return IndexBusy(f"collection {collection} is in use by another program")
    if why := obstacle(error):
        return StoreUnavailable(f"cannot use collection {collection} in {folder}: {why}")
    if opening:
        try:
            _read_all(folder)
        except OSError as fault:
            why = obstacle(fault) or fault.strerror or str(fault)
            return StoreUnavailable(
                f"cannot use collection {collection}: {fault.filename or folder}: {why}"
            )
        return StoreError(
            f"collection {collection} is damaged ({text}); copy {folder} elsewhere first, then "
            "restore a backup, or delete that folder and ingest again"
        )
    if type(error).__name__ == "PanicException":
        return StoreError(
            f"the engine failed on collection {collection} ({text}); try again, and if it fails "
            f"again copy {folder} elsewhere, then restore a backup"
        )
    return StoreError(f"collection {collection}: {text}")


def _read_all(folder: Path) -> None:
    """Read every file below the folder; raises the OSError of one that cannot be read."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 20):
                    pass
