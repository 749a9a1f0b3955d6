"""XMP files next to pictures, as Lightroom, darktable and digiKam write them.

`photo.jpg.xmp` belongs to `photo.jpg` alone. It is preferred to `photo.xmp`, which may belong to
`photo.cr2` too. Pictures in archives and at addresses have none here.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from scenesearch.pictures.metadata import MAX_XMP_BYTES, merge_sidecar, read_sidecar
from scenesearch.pictures.opening import OpenedImage
from scenesearch.pictures.originals import LocalFile, Original, OriginalError

_SUFFIXES = (".xmp", ".XMP")


@dataclass(frozen=True)
class Sidecar:
    """A picture's XMP file; `version` changes with its name, size or time."""

    file: LocalFile
    size_bytes: int
    version: str


def sidecar_of(original: Original) -> Sidecar | None:
    """The XMP file of the picture, if there is one; only its name, size and time are read."""
    if not isinstance(original, LocalFile):
        return None
    # By strings: this is asked of every picture of every re-scan.
    path = str(original.path)
    stem = os.path.splitext(path)[0]  # noqa: PTH122
    for name in (*(path + suffix for suffix in _SUFFIXES), *(stem + end for end in _SUFFIXES)):
        try:
            status = os.stat(name)  # noqa: PTH116
        except (OSError, ValueError):
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        file = LocalFile(original.path.with_name(os.path.basename(name)))  # noqa: PTH119
        version = f"{file.name} {status.st_size} {status.st_mtime_ns}"
        return Sidecar(file, status.st_size, version)
    return None


def pictures_of(paths: Iterable[Path]) -> list[Path]:
    """The pictures of those paths that are, or were, XMP files."""
    found: list[Path] = []
    for path in paths:
        if path.suffix not in _SUFFIXES:
            continue
        try:
            names = [file.name for file in path.parent.iterdir() if file.is_file()]
        except OSError:
            continue
        found += [
            path.with_name(name)
            for name in names
            if path.stem in (name, os.path.splitext(name)[0])  # noqa: PTH122
            and not name.endswith(_SUFFIXES)
        ]
    return found


def with_sidecar(opened: OpenedImage, sidecar: Sidecar) -> OpenedImage:
    """The picture with the metadata of its XMP file; a file that cannot be read costs a note."""
    own = opened.metadata
    try:
        said = read_sidecar(sidecar.file.read(0, min(sidecar.size_bytes, MAX_XMP_BYTES + 1)))
    except OriginalError as error:
        metadata = replace(own, notes=(*own.notes, f"{sidecar.file.name}: {error}"))
        return replace(opened, metadata=metadata)
    named = tuple(f"{sidecar.file.name}: {note}" for note in said.notes)
    return replace(opened, metadata=merge_sidecar(own, replace(said, notes=named)))
