"""What visitors bring: files kept under safe names, and paths confined to allowed folders."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from scenesearch.datasets.manifest import MANIFEST_SUFFIXES
from scenesearch.errors import SceneSearchError
from scenesearch.pictures.formats import HEAD_BYTES, SUFFIXES, is_picture
from scenesearch.runtime.files import atomic_writer, private_folder

# In bytes of UTF-8: file systems take 255, and a number or a suffix of ours may be added.
LONGEST_NAME = 120
LONGEST_SUFFIX = 20

# Where a desktop mounts disks and cards; only those that are there count.
_MOUNTS = ("/media", "/mnt", "/run/media", "/Volumes")
_UNSAFE = re.compile(r"[^\w .()+,@&=-]")
# Names that Windows takes for devices, whatever their suffix.
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[\d¹²³])(\..*)?", re.I)


class UploadError(SceneSearchError):
    """The file or folder is not taken; the message is one sentence for the visitor."""


def allowed_roots(configured: str, *, local: bool) -> list[Path]:
    """The folders below which a visitor may name one: the setting's, else on localhost the home
    folder and mounted disks, else none."""
    if configured.strip():
        named = [Path(part).expanduser() for part in configured.split(os.pathsep) if part.strip()]
        return [folder.resolve() for folder in named if folder.is_dir()]
    if not local:
        return []
    places = (Path.home(), *map(Path, _MOUNTS))
    return [place.resolve() for place in places if place.is_dir()]


def confined(text: str, roots: Sequence[Path]) -> Path:
    """The folder that the visitor typed, links followed; raises UploadError outside the roots."""
    try:
        folder = Path(text.strip()).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):
        raise UploadError("this is not a path of a folder") from None
    if not text.strip() or not any(folder.is_relative_to(root) for root in roots):
        raise UploadError(
            "this page adds only folders in " + " or ".join(str(root) for root in roots)
            if roots
            else "this page adds no folders: upload pictures instead"
        )
    if not folder.is_dir():
        raise UploadError(f"{folder} is not a folder that can be read")
    return folder


def subfolders(folder: Path, *, most: int = 500) -> list[str]:
    """Names of the folders in a folder, hidden ones and links left out."""
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
    return sorted(names, key=str.casefold)[:most]


def pictures_in(folder: Path, *, most: int = 10_000) -> int:
    """How many files of the folder itself are pictures by their suffix."""
    try:
        with os.scandir(folder) as entries:
            found = 0
            for seen, entry in enumerate(entries):
                found += os.path.splitext(entry.name)[1].lower() in SUFFIXES  # noqa: PTH122
                if seen >= most:
                    break
            return found
    except OSError:
        return 0


def safe_name(name: str) -> str:
    """The file's own name without folders, signs that mean something to a system, or length."""
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    name = _UNSAFE.sub("_", name).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    stem, suffix = (stem, f".{suffix.lower()}") if dot else (name, "")
    suffix = _cut(suffix, LONGEST_SUFFIX)
    stem = _cut(stem.strip(" ."), LONGEST_NAME - len(suffix.encode())).strip(" .") or "picture"
    name = f"{stem}{suffix}".rstrip(" .")
    return f"_{name}" if _DEVICE.fullmatch(name) else name


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode(errors="ignore")


def printable(text: str) -> str:
    """The text with '?' for what is no character, as in names of files that are no UTF-8: sent to
    a browser it would end the view."""
    return text.encode("utf-8", "replace").decode()


def keep_picture(name: str, data: bytes, folder: Path, *, most_bytes: int) -> Path:
    """Write an uploaded picture into the folder; the same one twice is one file.

    Raises UploadError when it is too large or no picture by its first bytes.
    """
    shown = safe_name(name)
    check_size(shown, len(data), most_bytes)
    if not is_picture(data[:HEAD_BYTES]):
        raise UploadError(f"{shown} is not a picture")
    return _keep(shown, data, folder)


def keep_manifest(name: str, data: bytes, folder: Path, *, most_bytes: int) -> Path:
    """Write an uploaded table of pictures into the folder; raises UploadError."""
    shown = safe_name(name)
    check_size(shown, len(data), most_bytes)
    if Path(shown).suffix not in MANIFEST_SUFFIXES:
        raise UploadError(f"{shown}: a table ends in one of {', '.join(sorted(MANIFEST_SUFFIXES))}")
    return _keep(shown, data, folder)


def check_size(name: str, size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise UploadError(
            f"{name} is too large: {size / 1e6:.0f} MB, at most {most_bytes / 1e6:.0f} MB "
            "can be uploaded"
        )


def _keep(name: str, data: bytes, folder: Path) -> Path:
    private_folder(folder)
    digest = hashlib.sha256(data)
    path, number = folder / name, 1
    while path.exists() or path.is_symlink():
        if path.is_file() and hashlib.sha256(path.read_bytes()).digest() == digest.digest():
            return path
        number += 1
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
    with atomic_writer(path, private=True) as file:
        file.write(data)
    return path
