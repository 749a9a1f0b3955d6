"""Pictures named one by one on standard input: `find ... | scenesearch ingest -`."""

import os
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO

from ingest.sources.base import Problem, Source, SourceError
from ingest.sources.roots import Roots
from ingest.sources.walk import is_unicode, shown
from scenesearch.pictures.originals import LocalFile, RemoteFile, is_url
from scenesearch.pictures.records import ImageRecord
from scenesearch.runtime.cancel import cancellable

# No file system has longer paths; a longer line is no list of files.
_MAX_PATH_BYTES = 64 * 1024


def path_list_source(lines: IO[bytes], roots: Roots, *, separator: bytes = b"\n") -> Source:
    """The pictures that `lines` names, a path or an address each, in their order.

    Image ids are relative to the innermost folder that holds all those that the library does not
    know yet. The list is kept on disk, not in memory. Raises SourceError when it names none.
    """
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the source
    problems: list[Problem] = []
    count = 0
    common: str | None = None
    linked: set[str] = set()
    real_of = lru_cache(maxsize=4096)(os.path.realpath)
    for number, line in enumerate(cancellable(_split(lines, separator)), start=1):
        text = line if separator == b"\0" else line.removesuffix(b"\r")
        if not text:
            continue
        name = os.fsdecode(text)
        if is_url(name):
            roots.add(name.rpartition("/")[0])
        else:
            path = Path(os.path.abspath(name))  # noqa: PTH100 - links are kept as they are
            reason = _refused(path)
            if reason is not None:
                problems.append(Problem(f"line {number}: {shown(path)}", reason))
                continue
            name = str(path)
            real = real_of(str(path.parent))
            if real != str(path.parent):
                linked.add(real)
            if not roots.knows(path):
                folder = str(path.parent)
                common = folder if common is None else os.path.commonpath([common, folder])
        spool.write(os.fsencode(name) + b"\0")
        count += 1
    if not count:
        why = f" ({problems[0].where}: {problems[0].reason})" if problems else ""
        raise SourceError(f"the list on standard input names no pictures{why}")
    # The library knows its folders without links; those below the common folder stay in the names.
    above = None if common is None else os.path.realpath(common)
    if above is not None:
        roots.add(above)
    for folder in sorted(linked):  # what a link of the list leads to is ingested from too
        roots.add(folder)

    def records() -> Iterator[ImageRecord]:
        spool.seek(0)
        for line in _split(spool, b"\0"):
            name = os.fsdecode(line)
            if not line:
                continue
            if is_url(name):
                yield roots.record(RemoteFile(name))
                continue
            path = Path(name)
            if common is not None and above is not None and not roots.knows(path):
                path = Path(above, path.relative_to(common))
            yield roots.record(LocalFile(path))

    return Source(records, count, problems=tuple(problems))


def _refused(path: Path) -> str | None:
    if not is_unicode(path):
        return "the name is not valid Unicode; rename the file"
    if path.is_dir():
        return "is a folder; give it as an argument instead"
    if not os.path.lexists(path):
        return "no such file"
    return None


def _split(file: IO[bytes], separator: bytes) -> Iterator[bytes]:
    """The parts between separators; raises SourceError for one that no path can be."""
    rest = b""
    while block := file.read1(_MAX_PATH_BYTES) if hasattr(file, "read1") else file.read(1 << 16):
        *parts, rest = (rest + block).split(separator)
        yield from parts
        if len(rest) > _MAX_PATH_BYTES:
            raise SourceError("a line on standard input is longer than any path")
    yield rest
