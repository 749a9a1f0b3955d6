"""Files next to pictures that describe them: XMP, and the JSON of Google Takeout.

`photo.jpg.xmp`, as Lightroom, darktable and digiKam write it, belongs to `photo.jpg` alone. It is
preferred to `photo.xmp`, which may belong to `photo.cr2` too. Upper and lower case do not matter:
files come from systems that ignore them. Pictures at addresses have no such files here, and those
in archives only the JSON.
"""

import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from scenesearch.pictures.metadata import date_in_name, read_sidecar
from scenesearch.pictures.opening import OpenedImage
from scenesearch.pictures.originals import LocalFile, Original, OriginalError
from scenesearch.pictures.statements import PictureMetadata, settle
from scenesearch.pictures.takeout import (
    MAX_TAKEOUT_BYTES,
    read_takeout,
    takeout_names,
    takeout_of,
)
from scenesearch.pictures.xmp import MAX_XMP_BYTES

_XMP, _JSON = ".xmp", ".json"
# A folder whose time is that recent may change again within the same tick of its clock.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Sidecar:
    """A file that describes a picture."""

    file: LocalFile
    size_bytes: int
    version: str

    @property
    def is_xmp(self) -> bool:
        return self.file.name.lower().endswith(_XMP)


def sidecars_of(original: Original) -> list[Sidecar]:
    """The picture's XMP file and its JSON, those that there are; they are not read."""
    if not isinstance(original, LocalFile):
        return []
    path = original.path
    found: list[Sidecar] = []
    for name in _beside(path.name, _names_in(str(path.parent))):
        file = path.with_name(name)
        try:
            status = os.stat(file)  # noqa: PTH116
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):
            version = f"{name} {status.st_size} {status.st_mtime_ns}"
            found.append(Sidecar(LocalFile(file), status.st_size, version))
    return found


def version_of(sidecars: Sequence[Sidecar]) -> str:
    """What changes with the names, sizes and times of the files; '' for none."""
    return "; ".join(sidecar.version for sidecar in sidecars)


def pictures_of(paths: Iterable[Path]) -> list[Path]:
    """The pictures of those paths that are, or were, files beside pictures."""
    found: list[Path] = []
    for path in paths:
        if not path.name.lower().endswith((_XMP, _JSON)):
            continue
        try:
            names = [file.name for file in path.parent.iterdir() if file.is_file()]
        except OSError:
            continue
        beside = _Names([path.name])
        found += [
            path.with_name(name)
            for name in names
            if not name.lower().endswith((_XMP, _JSON)) and _beside(name, beside)
        ]
    return found


def described_by(
    opened: OpenedImage, name: str, sidecars: Sequence[Sidecar], takeout: str = ""
) -> OpenedImage:
    """The picture with what its name and the files beside it say; a file that cannot be read costs
    a note. `takeout` is the JSON of a picture in an archive."""
    own = opened.metadata
    notes = list(own.notes)
    statements = [*own.statements, *date_in_name(name)]
    for sidecar in sidecars:
        try:
            said = _read(sidecar)
        except OriginalError as error:
            notes.append(f"{sidecar.file.name}: {error}")
            continue
        if said is not None:
            statements += [replace(one, is_noted=False) for one in said.statements]
            notes += [f"{sidecar.file.name}: {note}" for note in said.notes]
    if takeout and (said := read_takeout(takeout)) is not None:
        statements += said.statements
    if len(statements) == len(own.statements) and len(notes) == len(own.notes):
        return opened
    return replace(opened, metadata=settle(statements, notes))


def _read(sidecar: Sidecar) -> PictureMetadata | None:
    if sidecar.is_xmp:
        return read_sidecar(sidecar.file.read(0, min(sidecar.size_bytes, MAX_XMP_BYTES + 1)))
    if sidecar.size_bytes > MAX_TAKEOUT_BYTES:
        return None
    return read_takeout(sidecar.file.read(0, sidecar.size_bytes))


# --- names in a folder ---------------------------------------------------------------------------


class _Names:
    """The names in a folder that may be those of files beside pictures."""

    def __init__(self, names: Iterable[str]) -> None:
        names = sorted(name for name in names if name.lower().endswith((_XMP, _JSON)))
        self.exact = frozenset(names)
        self.xmp: Mapping[str, str] = {
            name.lower(): name for name in names if name.lower().endswith(_XMP)
        }
        self.takeout = takeout_names(names)


def _beside(picture: str, names: _Names) -> list[str]:
    """The names of the picture's XMP file and of its JSON."""
    found: list[str] = []
    stem = os.path.splitext(picture)[0]  # noqa: PTH122
    for base in (picture, stem):
        # The one in the picture's own case is its own, where a folder tells them apart.
        exact = next((base + end for end in (_XMP, _XMP.upper()) if base + end in names.exact), "")
        if name := exact or names.xmp.get((base + _XMP).lower()):
            found.append(name)
            break
    if names.takeout and (json := takeout_of(picture, names.takeout)):
        found.append(json)
    return found


def _names_in(folder: str) -> _Names:
    """The names in the folder, which is listed once while nothing in it comes or goes: this is
    asked of every picture of every re-scan."""
    try:
        changed_ns = os.stat(folder).st_mtime_ns  # noqa: PTH116
    except OSError:
        return _Names(())
    is_settled = time.time_ns() - changed_ns > _SETTLED_NS
    # A folder that changes right now is listed again every second.
    return _listed(folder, changed_ns, 0 if is_settled else time.monotonic_ns() // 10**9)


@lru_cache(maxsize=64)
def _listed(folder: str, changed_ns: int, second: int) -> _Names:
    try:
        return _Names(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return _Names(())
