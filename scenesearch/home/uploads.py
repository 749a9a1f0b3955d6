"""What visitors bring: uploads, saved under safe names, and paths, confined to allowed folders."""

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from scenesearch.datasets.manifest import MANIFEST_SUFFIXES
from scenesearch.errors import SceneSearchError
from scenesearch.pictures.file_names import safe_name
from scenesearch.pictures.formats import HEAD_BYTES, SUFFIXES, is_picture
from scenesearch.runtime.files import atomic_writer, private_folder

# Where a desktop mounts disks and cards, on various systems.
_MOUNTS = ("/media", "/mnt", "/run/media", "/Volumes")
_MAX_SUBFOLDERS = 500
_MAX_COUNTED = 10_000


class UploadError(SceneSearchError):
    """The file or folder is refused; the message is one sentence for the visitor."""


def allowed_roots(configured: str, *, local: bool) -> list[Path]:
    """The folders that a visitor may add, with everything below them: those of the setting, else
    on localhost the home folder and mounted disks, else none."""
    if configured.strip():
        named = [Path(part).expanduser() for part in configured.split(os.pathsep) if part.strip()]
        return [folder.resolve() for folder in named if folder.is_dir()]
    if not local:
        return []
    places = (Path.home(), *map(Path, _MOUNTS))
    return [place.resolve() for place in places if place.is_dir()]


def allowed_folder(text: str, roots: Sequence[Path]) -> Path:
    """The folder that the visitor typed, links resolved; raises UploadError outside the roots."""
    try:
        folder = Path(text.strip()).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):
        raise UploadError("this is not the path of a folder") from None
    if not text.strip() or not any(folder.is_relative_to(root) for root in roots):
        raise UploadError(
            "only folders in " + " or ".join(str(root) for root in roots) + " can be added"
            if roots
            else "no folders can be added: upload pictures instead"
        )
    if not folder.is_dir():
        raise UploadError(f"{folder} is not a folder that can be read")
    return folder


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, without hidden ones and links."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False)
                and not entry.name.startswith(".")
                and printable(entry.name) == entry.name
            ]
    except OSError:
        return []
    return sorted(names, key=str.casefold)[:_MAX_SUBFOLDERS]


def count_pictures(folder: Path) -> int:
    """How many files directly in the folder are pictures by their suffix."""
    try:
        with os.scandir(folder) as entries:
            first = islice(entries, _MAX_COUNTED)
            return sum(Path(entry.name).suffix.lower() in SUFFIXES for entry in first)
    except OSError:
        return 0


def printable(text: str) -> str:
    """The text with '?' for bytes that are not UTF-8, as in some file names: sent to a browser
    they would end the view."""
    return text.encode("utf-8", "replace").decode()


def save_picture(name: str, data: bytes, folder: Path, *, max_bytes: int) -> Path:
    """Write an uploaded picture into the folder; the same picture twice is one file.

    Raises UploadError if it is too large, or not a picture by its first bytes.
    """
    name = _checked_name(name, data, max_bytes)
    if not is_picture(data[:HEAD_BYTES]):
        raise UploadError(f"{name} is not a picture")
    return _save(name, data, folder)


def save_manifest(name: str, data: bytes, folder: Path, *, max_bytes: int) -> Path:
    """Write an uploaded table of pictures or queries into the folder; raises UploadError."""
    name = _checked_name(name, data, max_bytes)
    if Path(name).suffix not in MANIFEST_SUFFIXES:
        suffixes = ", ".join(sorted(MANIFEST_SUFFIXES))
        raise UploadError(f"{name}: the name of a table ends in one of {suffixes}")
    return _save(name, data, folder)


def _checked_name(name: str, data: bytes, max_bytes: int) -> str:
    name = safe_name(name)
    if len(data) > max_bytes:
        raise UploadError(
            f"{name} is too large: {len(data) / 1e6:.0f} MB, at most {max_bytes / 1e6:.0f} MB "
            "can be uploaded"
        )
    return name


def _save(name: str, data: bytes, folder: Path) -> Path:
    private_folder(folder)
    path, number = folder / name, 1
    while path.exists() or path.is_symlink():
        if path.is_file() and path.read_bytes() == data:
            return path
        number += 1
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
    with atomic_writer(path, private=True) as file:
        file.write(data)
    return path
