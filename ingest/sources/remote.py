"""Pictures at addresses: s3:// and gs:// folders, http(s):// listings, single ones, archives."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

from ingest.sources.archives import archive_source, files_source, refuse_compressed
from ingest.sources.base import Problem, Source, SourceError
from ingest.sources.excludes import Excludes, FolderExcludes
from ingest.sources.roots import Roots
from ingest.sources.walk import is_archive, is_picture_name
from scenesearch.pictures.formats import HEAD_BYTES, is_picture, suffix_of, without_rendered
from scenesearch.pictures.originals import (
    OriginalError,
    OriginalState,
    RemoteFile,
    file_system,
    remote_faults,
    remote_state,
)
from scenesearch.pictures.records import MetadataType
from scenesearch.runtime.cancel import cancellable, check_cancelled

# A server may link in circles, each turn a longer address.
_MAX_DEPTH = 32


def remote_source(
    url: str,
    roots: Roots,
    excludes: Excludes,
    declared: Mapping[str, MetadataType] = MappingProxyType({}),
) -> Source:
    """The picture, the archive or the folder of pictures at the address.

    Raises SourceError when it cannot be reached or holds none.
    """
    refuse_compressed(url)
    try:
        if is_archive(url):
            roots.add(_parent(url))
            inside = excludes.below(_parent(url))
            source = archive_source([RemoteFile(url)], roots, inside.leaves_out_at, declared)
            return replace(source, root=f"{url}!")
        if not _is_folder(url):
            roots.add(_parent(url))
            record = roots.record(RemoteFile(url))
            return Source(lambda: iter([record]), count=1)
        folder = url.rstrip("/")
        inside = excludes.below(folder)
        find = partial(_walk, folder, inside)
        return files_source(
            find, roots, leaves_out=inside.leaves_out_at, folder=folder, declared=declared
        )
    except OriginalError as error:
        raise SourceError(f"{url}: {error}") from None


def _walk(url: str, excludes: FolderExcludes, problems: list[Problem]) -> Iterator[RemoteFile]:
    """Pictures and archives below the address, sorted within each folder, without what is left
    out.

    By their suffix; one without any is asked for its first bytes.
    """
    folders = [(url, 0)]
    seen = {url}
    while folders:
        check_cancelled()
        folder, depth = folders.pop()
        try:
            files, below = _list(folder)
        except OriginalError as error:
            if folder == url:
                raise
            problems.append(Problem(folder, str(error)))
            continue
        wanted = sorted(name for name in files if not excludes.leaves_out(excludes.relative(name)))
        for name in cancellable(without_rendered(wanted)):
            found = RemoteFile(name, files[name])
            if (
                is_picture_name(name)
                or is_archive(name)
                or (not suffix_of(name) and _begins_as_picture(found))
            ):
                yield found
        if depth == _MAX_DEPTH and below:
            problems.append(Problem(folder, f"folders more than {_MAX_DEPTH} deep are left out"))
            continue
        for name in sorted(below, reverse=True):
            inside = excludes.relative(name)
            if name not in seen and not excludes.leaves_out(inside, is_folder=True):
                seen.add(name)
                folders.append((name, depth + 1))


def _list(folder: str) -> tuple[dict[str, OriginalState | None], list[str]]:
    """Addresses of files, with what the listing tells of them, and of folders."""
    files: dict[str, OriginalState | None] = {}
    below: list[str] = []
    scheme = folder.partition("://")[0]
    with remote_faults():
        listed: list[dict[str, Any]] = file_system(folder).ls(
            folder + "/" if _is_web(folder) else folder, detail=True
        )
    for entry in listed:
        name = str(entry["name"])
        url = name if "://" in name else f"{scheme}://{name}"
        url = urldefrag(url).url if _is_web(url) else url
        if not _is_below(url, folder):
            continue
        if entry.get("type") == "directory" or url.endswith("/"):
            below.append(url.rstrip("/"))
        elif isinstance(entry.get("size"), int):
            files[url] = remote_state(entry)
        else:
            files[url] = None  # web servers list no sizes; each is asked when its turn comes
    return files, below


def _is_folder(url: str) -> bool:
    if url.endswith("/"):
        return True
    with remote_faults():
        info = file_system(url).info(url)
    if not _is_web(url):
        return bool(info.get("type") == "directory")
    return str(info.get("mimetype", "")) in ("text/html", "application/xhtml+xml")


def _is_below(url: str, folder: str) -> bool:
    """Whether a listing may name it: links from a stranger's page lead anywhere."""
    if not url.startswith(folder + "/") or url == folder + "/":
        return False
    path = unquote(url[len(folder) + 1 :]) if _is_web(url) else url[len(folder) + 1 :]
    if _is_web(url) and urlsplit(url).query:
        return False  # other ways to sort the same listing
    return ".." not in path.split("/") and "\\" not in path and path.isprintable()


def _begins_as_picture(found: RemoteFile) -> bool:
    try:
        size = (found.listed or found.state()).size_bytes
        return is_picture(found.read(0, min(HEAD_BYTES, size))) if size else False
    except OriginalError:
        return True  # its own turn will tell what is wrong with it


def _is_web(url: str) -> bool:
    return url.startswith("http")


def _parent(url: str) -> str:
    return url.rstrip("/").rpartition("/")[0]
