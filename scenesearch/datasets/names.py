"""Finds the pictures that a stranger's file or query means by a name."""

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from scenesearch.datasets.cells import composed


def folded(text: str) -> str:
    """The text as it is compared: in one case, 'é' as one character however a file system or
    keyboard writes it."""
    return composed(text).casefold()


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Each name as it is written, under its composed form."""
    return {composed(name): name for name in names}


def find_pictures(names: Iterable[str], image_ids: Iterable[str]) -> dict[str, list[str]]:
    """For each name the ids that it may mean, best spelling first: none, one, or several.

    A name means the id that it is; else those that end with it (`boat.jpg` is `2019/boat.jpg`);
    else the longest with which it ends (`./boat.jpg` and `/photos/boat.jpg` are `boat.jpg`). It is
    compared as it is written, then composed (NFC), then in any case, then without the suffix.
    One pass over the ids, which may be millions.
    """
    wanted: dict[str, list[tuple[str, str]]] = {}
    for name in dict.fromkeys(names):
        path = _path(name)
        wanted.setdefault(folded(path).rpartition("/")[2], []).append((name, path))
    candidates: dict[str, list[str]] = {}
    for image_id in image_ids:
        file = folded(image_id.rpartition("/")[2])
        for key in {file, file.rpartition(".")[0]} & wanted.keys():
            for name, _ in wanted[key]:
                candidates.setdefault(name, []).append(image_id)
    return {
        name: _meant(name, path, candidates.get(name, []))
        for same in wanted.values()
        for name, path in same
    }


def _path(name: str) -> str:
    """The name with '/' between folders, without './' before it."""
    path = name.replace("\\", "/").removeprefix("file://")
    while path.startswith("./"):
        path = path[2:]
    return path


def _meant(name: str, path: str, candidates: list[str]) -> list[str]:
    if name in candidates:
        return [name]
    for spelled in (str, composed, folded, _stem):
        wanted = folded(path) if spelled is _stem else spelled(path)
        found = [(spelled(image_id), image_id) for image_id in candidates]
        if same := [image_id for text, image_id in found if text == wanted]:
            return same
        end = f"/{wanted.lstrip('/')}"
        if longer := [image_id for text, image_id in found if f"/{text}".endswith(end)]:
            return longer
        shorter = [(len(text), image_id) for text, image_id in found if end.endswith(f"/{text}")]
        if shorter:
            longest = max(shorter)[0]
            return [image_id for length, image_id in shorter if length == longest]
    return []


def _stem(image_id: str) -> str:
    """The folded id without its suffix."""
    text = folded(image_id)
    folder, slash, file = text.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


class Folder:
    """A folder in which files are found by names that somebody wrote down elsewhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # One listing for each folder, only where a name is not found as it is written.
        self._names = lru_cache(maxsize=1024)(_names_in)

    def find(self, name: str) -> Path:
        """The file of this name: as it is written, with '\\' for '/', composed or decomposed, in
        another case if only one file has such a name. Where there is none, the path looked at."""
        file = self.path / name
        if file.exists():
            return file
        if "\\" in name:  # written on Windows
            name = name.replace("\\", "/")
            file = self.path / name
            if file.exists():
                return file
        here = Path(file.anchor)
        for part in file.parts[1:] if file.anchor else file.parts:
            step = here / part
            if part != ".." and not step.exists():
                known = self._names(here)
                same = known.get(composed(part)) or known.get(folded(part)) or []
                if len(same) != 1:
                    return file
                step = here / same[0]
            here = step
        return here


def _names_in(folder: Path) -> Mapping[str, list[str]]:
    """The names in a folder, by their composed and by their folded form."""
    found: dict[str, list[str]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                for form in {composed(entry.name), folded(entry.name)}:
                    found.setdefault(form, []).append(entry.name)
    except OSError:
        return {}
    return found
