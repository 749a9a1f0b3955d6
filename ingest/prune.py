"""Points whose pictures are gone, found below the roots that were given and nowhere else.

A picture is gone when its folder can be read and does not hold it. Where the folder itself is not
there or holds nothing, a disk is more likely away than every picture deleted: those stay, unless
somebody confirms it.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ingest.shards import WHOLE, Shard
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.presence import holds_something
from scenesearch.home.rejects import Rejects
from scenesearch.pictures.originals import LocalFile, OriginalError, TarMember, original_of
from scenesearch.store.base import Point, VectorStore


@dataclass(frozen=True)
class Gone:
    """Points to be removed, and sentences on those that better stay."""

    points: tuple[Point, ...]
    kept: tuple[str, ...]


def find_gone(
    store: VectorStore,
    collection: str,
    roots: Sequence[str],
    shard: Shard = WHOLE,
    *,
    left_out: Callable[[str], bool] = lambda path: False,
    confirm: Callable[[Path, int], bool] = lambda folder, count: False,
) -> Gone:
    """What below the roots (beginnings of `payload["path"]`) is not there any more, or is left out
    by now.

    `confirm` is asked about each folder that is not there or holds nothing, with the number of its
    pictures.
    """
    gone: list[Point] = []
    doubtful: dict[Path, list[Point]] = defaultdict(list)
    holds_nothing = lru_cache(maxsize=4096)(is_empty)
    # A path that begins as a root may lead out of it all the same.
    inside = AllowedOriginals(map(place_of, roots))
    for point in store.scroll(collection, payload=("path", "sha256")):
        path = str(point.payload.get("path", ""))
        if not path.startswith(tuple(roots)) or not shard.holds(point.image_id):
            continue
        if not inside.allows(path):
            continue
        if left_out(path):
            gone.append(point)
            continue
        if not is_gone(path):
            continue
        absent = _absent_folder(path, holds_nothing)
        if absent is None:
            gone.append(point)
        else:
            doubtful[absent].append(point)
    kept: list[str] = []
    for folder, points in doubtful.items():
        if confirm(folder, len(points)):
            gone += points
        else:
            state = "is empty" if folder.is_dir() else "is not there"
            kept.append(
                f"{folder} {state}: its {len(points)} pictures stay in the library; is a disk "
                "away? If they are deleted, --prune --remove-absent removes them"
            )
    return Gone(tuple(gone), tuple(kept))


def _absent_folder(path: str, holds_nothing: Callable[[Path], bool]) -> Path | None:
    """The outermost folder on the way to the path that is not there, or else the innermost if it
    holds nothing; None where the folder is there with something in it."""
    original = original_of(path)
    outer = original.archive if isinstance(original, TarMember) else original
    if not isinstance(outer, LocalFile):
        return None
    missing = None
    for folder in outer.path.parents:
        if folder.is_dir():
            return folder if holds_nothing(folder) else missing
        missing = folder
    return missing


def forget_gone(rejects: Rejects, roots: Sequence[str], left_out: Callable[[str], bool]) -> None:
    """Take rejects out whose files below the roots are not there any more, or are left out."""
    rejects.forget(
        [
            reject.path
            for reject in rejects.all()
            if reject.image_id is not None
            and reject.path.startswith(tuple(roots))
            and (left_out(reject.path) or is_gone(reject.path))
        ]
    )


def place_of(root: str) -> str:
    """The folder or address that a source's root means; an archive's own, which begins its members'
    paths and ends in '!', means the one that the archive lies in."""
    if root.endswith("!"):
        root = root[: max(map(root.rfind, ("/", os.sep)))]
    return root.rstrip("/\\") or os.sep


def is_gone(path: str) -> bool:
    """Whether the original is certainly not there; what cannot be asked may be."""
    original = original_of(path)
    if isinstance(original, LocalFile):
        try:
            # A link counts, whether or not what it leads to is there.
            os.lstat(original.path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False
    try:
        original.state()
    except OriginalError as error:
        return error.missing
    return False


def nearest_folder(path: str) -> Path | None:
    """The innermost folder of a local path that is still there."""
    original = original_of(path)
    if not isinstance(original, LocalFile):
        return None
    return next((folder for folder in original.path.parents if folder.is_dir()), None)


def is_empty(folder: Path) -> bool:
    """Whether the folder holds nothing but hidden files, is not there, or does not say.

    Systems leave such files in the folder that a disk was mounted on.
    """
    return not holds_something(str(folder))
