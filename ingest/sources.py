"""Where pictures come from: folders, single files, manifests, the task's format.

A source keeps nothing in memory but what its manifest says.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scenesearch.datasets.manifest import MANIFEST_SUFFIXES, read_manifest
from scenesearch.datasets.task import is_task_folder, read_task_folder
from scenesearch.errors import SceneSearchError
from scenesearch.images import SUFFIXES, atomic_writer
from scenesearch.library import ImageRecord, MetadataType
from scenesearch.originals import LocalFile, original_of
from scenesearch.rejects import Reject


class SourceError(SceneSearchError):
    """A path that cannot be ingested from; the message is one sentence for the user."""


@dataclass(frozen=True)
class Problem:
    """Something of a source that was left out: a row, a folder, a name."""

    where: str
    reason: str


@dataclass(frozen=True)
class Source:
    """The `count` pictures of one path given by the user.

    `fields` are the custom metadata columns; `problems` what could not be used before any
    picture was opened; `root` how the paths of its pictures begin, also of those that are gone.
    """

    records: Callable[[], Iterator[ImageRecord]]
    count: int
    fields: Mapping[str, MetadataType] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    root: str = ""


class Roots:
    """The folders a library was filled from, each with the prefix its image ids carry.

    The first has none, so that ids are paths relative to it. A folder inside a known one keeps
    the known one's ids (ingesting photos/2020 after photos doubles nothing); another folder gets
    its own name as prefix (a/IMG_1.jpg and b/IMG_1.jpg stay two pictures).
    """

    def __init__(self, file: Path | None = None) -> None:
        """Reads the file if it exists; without one, nothing is remembered."""
        self._file = file
        self._prefixes: dict[Path, str] = {}
        if file is not None and file.exists():
            try:
                saved = json.loads(file.read_text(encoding="utf-8"))
                self._prefixes = {Path(root): str(prefix) for root, prefix in saved.items()}
            except (ValueError, AttributeError):
                raise SourceError(f"{file} is damaged: expected a JSON object") from None

    def add(self, folder: Path) -> None:
        """Make sure that pictures under this folder have image ids; remembers a new root."""
        folder = folder.resolve()
        if self._root_of(folder) is not None:
            return
        prefix, number = "", 1
        while prefix in self._prefixes.values():
            prefix = f"{folder.name or 'root'}{'' if number == 1 else f'-{number}'}/"
            number += 1
        self._prefixes[folder] = prefix
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(
                {str(root): value for root, value in self._prefixes.items()}, indent=1
            )
            with atomic_writer(self._file) as file:
                file.write(text.encode())

    def image_id(self, path: Path) -> str:
        """The picture's name in the library; `path` is absolute and lies under an added folder."""
        root = self._root_of(path)
        if root is None:
            raise SourceError(f"{path} is outside every folder of this library")
        return self._prefixes[root] + path.relative_to(root).as_posix()

    def _root_of(self, path: Path) -> Path | None:
        """The innermost known root that holds the path."""
        if path in self._prefixes:
            return path
        return next((parent for parent in path.parents if parent in self._prefixes), None)


def find_sources(
    paths: Sequence[Path], *, roots: Roots, manifest: Path | None = None
) -> list[Source]:
    """One source for each path; a path inside another given one is left to that one.

    With `manifest`, the single path is the folder its pictures lie in. Raises SourceError for a
    path that does not exist or holds no pictures.
    """
    if manifest is not None:
        if len(paths) > 1:
            raise SourceError("--manifest goes with one folder of pictures, several were given")
        return [_manifest_source(manifest, paths[0] if paths else manifest.parent, roots)]
    for path in paths:
        if not path.exists():
            raise SourceError(f"{path} does not exist")
    resolved = [path.resolve() for path in paths]
    outer = [
        path
        for position, path in enumerate(resolved)
        if path not in resolved[:position] and not any(other in path.parents for other in resolved)
    ]
    return [_source(path, roots) for path in outer]


def rejected_source(rejects: Sequence[Reject]) -> Source:
    """The pictures of these rejects, with what a manifest had said of them."""

    def records() -> Iterator[ImageRecord]:
        for reject in rejects:
            if reject.image_id is not None:
                told = dict(reject.described)
                captions, tags = tuple(told.pop("captions", ())), tuple(told.pop("tags", ()))
                yield ImageRecord(reject.image_id, original_of(reject.path), captions, tags, told)

    return Source(records, count=sum(reject.image_id is not None for reject in rejects))


def _source(path: Path, roots: Roots) -> Source:
    if path.is_dir():
        if is_task_folder(path):
            return _task_source(path, roots)
        return _folder_source(path, roots)
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return _manifest_source(path, path.parent, roots)
    roots.add(path.parent)
    record = ImageRecord(roots.image_id(path), LocalFile(path))
    return Source(lambda: iter([record]), count=1)


def _folder_source(folder: Path, roots: Roots) -> Source:
    problems: list[Problem] = []
    count = sum(1 for _ in walk_pictures(folder, problems.append))
    if count == 0:
        why = f" ({problems[0].where}: {problems[0].reason})" if problems else ""
        raise SourceError(f"{folder} holds no pictures{why}")
    roots.add(folder)

    def records() -> Iterator[ImageRecord]:
        for path in walk_pictures(folder, lambda _: None):
            yield ImageRecord(roots.image_id(path), LocalFile(path))

    return Source(records, count, problems=tuple(problems), root=f"{folder}{os.sep}")


def walk_pictures(folder: Path, on_problem: Callable[[Problem], None]) -> Iterator[Path]:
    """Files with a picture's suffix below the folder, sorted; hidden ones are passed over.

    Links to folders are not followed, so that a loop cannot hold the walk.
    """

    def unreadable(error: OSError) -> None:
        on_problem(Problem(str(error.filename), f"folder cannot be read: {error.strerror}"))

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            try:
                str(path).encode("utf-8")
            except UnicodeEncodeError:
                shown = os.fsencode(path).decode("utf-8", "backslashreplace")
                on_problem(Problem(shown, "the name is not valid Unicode; rename the file"))
                continue
            yield path


def _manifest_source(path: Path, images: Path, roots: Roots) -> Source:
    if not path.is_file():
        raise SourceError(f"manifest {path} does not exist")
    images = images.resolve()
    manifest = read_manifest(path, images)
    roots.add(images)
    problems = tuple(Problem(f"{p.file}:{p.line}", p.reason) for p in manifest.problems)
    return Source(
        lambda: _renamed(manifest.records, roots),
        len(manifest.records),
        fields=manifest.fields,
        problems=problems,
        root=f"{images}{os.sep}",
    )


def _task_source(folder: Path, roots: Roots) -> Source:
    task = read_task_folder(folder)
    roots.add(folder)
    problems = tuple(Problem(f"{p.file}:{p.line}", p.reason) for p in task.problems)
    return Source(
        lambda: _renamed(task.records, roots),
        len(task.records),
        fields=task.fields,
        problems=problems,
        root=f"{folder}{os.sep}",
    )


def _renamed(records: Sequence[ImageRecord], roots: Roots) -> Iterator[ImageRecord]:
    """The records under this library's image ids: readers know only their own folder."""
    for record in records:
        path = record.path.resolve()
        yield replace(record, image_id=roots.image_id(path), original=LocalFile(path))
