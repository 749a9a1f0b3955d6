"""Finds the sources behind the paths that the user gives.

Folders, single files, archives, addresses, manifests, lists of paths and folders in the task's
format. A source keeps nothing in memory but what its manifest or its sidecars say.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import IO

from ingest.sources.archives import archive_source, files_source, refuse_compressed
from ingest.sources.base import Problem, Source, SourceError
from ingest.sources.excludes import Excludes, FolderExcludes
from ingest.sources.path_list import path_list_source
from ingest.sources.remote import remote_source
from ingest.sources.roots import Roots
from ingest.sources.walk import is_archive, is_unicode, shown, walk
from scenesearch.datasets.manifest import MANIFEST_SUFFIXES, Manifest, read_manifest
from scenesearch.datasets.task import TaskFolder, is_task_folder, read_task_folder
from scenesearch.home.rejects import Reject
from scenesearch.pictures.originals import LocalFile, is_url, original_of
from scenesearch.pictures.records import ImageRecord, MetadataType

# In the place of a path: the paths come on standard input, one a line.
LISTED = "-"

_NOTHING_TO_EXCLUDE = (
    "--exclude is for folders, archives and addresses: pictures that a path, a list or a table "
    "names are wanted"
)


def find_sources(
    paths: Sequence[Path | str],
    *,
    roots: Roots,
    manifest: Path | None = None,
    listed: IO[bytes] | None = None,
    separator: bytes = b"\n",
    declared: Mapping[str, MetadataType] = MappingProxyType({}),
    excludes: Excludes | None = None,
    gone: bool = False,
) -> list[Source]:
    """One source for each path or address; a path inside another given one is left to that one.

    With `manifest`, the single path is the folder its pictures lie in. `listed` is what the path
    '-' reads its paths from. Columns named like a field that is `declared` get its type; so do
    those of the sources that follow. `excludes` are for folders, archives and addresses: what a
    table, a list or a path names is wanted. With `gone`, folders of the library that are not there
    any more or hold no pictures are sources without pictures. Raises SourceError for a path that
    does not exist or holds no pictures, and for patterns that no path is looked through with.
    """
    excludes = excludes or Excludes()
    if manifest is not None:
        if excludes.patterns:
            raise SourceError(_NOTHING_TO_EXCLUDE)
        if len(paths) > 1:
            raise SourceError("--manifest goes with one folder of pictures, several were given")
        folder = Path(paths[0]) if paths else manifest.parent
        return [_manifest_source(manifest, folder, roots, declared)]
    urls = [path for path in paths if isinstance(path, str) and is_url(path)]
    local = [Path(path) for path in paths if path not in urls and path != LISTED]
    emptied = [path for path in local if gone and _is_emptied(path, roots)]
    local = [path for path in local if path not in emptied]
    for path in local:
        if not path.exists():
            raise SourceError(f"{path} does not exist")
    if excludes.patterns and not emptied and not any(map(_is_looked_through, paths)):
        raise SourceError(_NOTHING_TO_EXCLUDE)
    resolved = [path.resolve() for path in local]
    outer = [
        path
        for position, path in enumerate(resolved)
        if path not in resolved[:position] and not any(other in path.parents for other in resolved)
    ]
    sources: list[Source] = []
    types = dict(declared)
    # Tables come last: they may describe pictures of the folders, which must be known.
    for path in sorted(outer, key=lambda path: path.suffix.lower() in MANIFEST_SUFFIXES):
        sources.append(_source(path, roots, excludes, types))
        types = {**sources[-1].fields, **types}
    sources += [
        Source(lambda: iter(()), 0, root=f"{os.path.abspath(path)}{os.sep}")  # noqa: PTH100
        for path in emptied
    ]
    for url in dict.fromkeys(urls):
        sources.append(remote_source(url, roots, excludes, types))
        types = {**sources[-1].fields, **types}
    if LISTED in paths:
        if listed is None:
            raise SourceError("there is no list to read paths from")
        sources.append(path_list_source(listed, roots, separator=separator))
    return sources


def rejected_source(rejects: Sequence[Reject]) -> Source:
    """The pictures of these rejects, with what a manifest had said of them."""

    def records() -> Iterator[ImageRecord]:
        for reject in rejects:
            if reject.image_id is not None:
                columns = dict(reject.described)
                captions, tags = columns.pop("captions", ()), columns.pop("tags", ())
                original = original_of(reject.path)
                yield ImageRecord(reject.image_id, original, tuple(captions), tuple(tags), columns)

    return Source(records, count=sum(reject.image_id is not None for reject in rejects))


def _is_emptied(path: Path, roots: Roots) -> bool:
    known = os.path.abspath(path) in roots.known  # noqa: PTH100
    return known and not (path.is_dir() and any(walk(path)))


def _is_looked_through(path: Path | str) -> bool:
    return is_url(str(path)) or is_archive(str(path)) or Path(path).is_dir()


def _source(
    path: Path, roots: Roots, excludes: Excludes, declared: Mapping[str, MetadataType]
) -> Source:
    if not is_unicode(path):
        raise SourceError(f"{shown(path)}: the name is not valid Unicode; rename it")
    if path.is_dir():
        if is_task_folder(path):
            return _table_source(read_task_folder(path, declared), path, roots)
        inside = excludes.below(path)
        outer = roots.holding(path)
        if outer is not None and FolderExcludes(outer).leaves_out_at(str(path / "x")):
            roots.add(path, apart=True)
        return files_source(
            lambda found: map(LocalFile, walk(path, found, inside)),
            roots,
            leaves_out=inside.leaves_out_at,
            folder=path,
            declared=declared,
        )
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return _manifest_source(path, path.parent, roots, declared)
    refuse_compressed(str(path))
    roots.add(path.parent)
    if is_archive(path.name):
        inside = excludes.below(str(path.parent))
        source = archive_source([LocalFile(path)], roots, inside.leaves_out_at, declared)
        return replace(source, root=f"{path}!")
    record = roots.record(LocalFile(path))
    return Source(lambda: iter([record]), count=1)


def _manifest_source(
    path: Path, images: Path, roots: Roots, declared: Mapping[str, MetadataType]
) -> Source:
    if not path.is_file():
        raise SourceError(f"manifest {path} does not exist")
    images = images.resolve()
    table = read_manifest(path, images, declared=declared, is_allowed=roots.knows)
    return _table_source(table, images, roots, listing=str(path))


def _table_source(
    table: Manifest | TaskFolder, images: Path, roots: Roots, *, listing: str = ""
) -> Source:
    if not table.records or any(r.path.is_relative_to(images) for r in table.records):
        roots.add(images)
    problems: list[Problem] = []
    notes: list[Problem] = []
    for one in table.problems:
        (notes if one.is_note else problems).append(Problem(f"{one.file}:{one.line}", one.reason))
    return Source(
        lambda: _renamed(table.records, roots),
        len(table.records),
        fields=table.fields,
        problems=tuple(problems),
        root=f"{images}{os.sep}",
        listing=listing,
        notes=tuple(notes),
    )


def _renamed(records: Sequence[ImageRecord], roots: Roots) -> Iterator[ImageRecord]:
    """The records under this library's image ids: readers know only their own folder."""
    for record in records:
        path = record.path.resolve()
        yield replace(record, image_id=roots.image_id(path), original=LocalFile(path))
