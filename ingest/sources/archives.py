"""Pictures in folders and in tar archives.

An archive is read as WebDataset writes it: next to `a.jpg` a caption `a.txt` or `a.caption`,
columns in `a.json`, a class in `a.cls`.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ingest.sources.base import Problem, Source, SourceError
from ingest.sources.roots import Roots
from ingest.sources.walk import is_archive, is_picture_name
from scenesearch.datasets.cells import LooseText, json_row
from scenesearch.datasets.columns import Description, Descriptions, field_name
from scenesearch.datasets.tables import is_unicode, western
from scenesearch.pictures.formats import HEAD_BYTES, is_picture, suffix_of, without_rendered
from scenesearch.pictures.originals import (
    LocalFile,
    MemberLocation,
    Original,
    OriginalError,
    OriginalState,
    RemoteFile,
    TarMember,
    open_archive,
    remote_faults,
    tar_members,
)
from scenesearch.pictures.records import ImageRecord, MetadataType
from scenesearch.pictures.takeout import read_takeout, takeout_names, takeout_of
from scenesearch.runtime.cancel import cancellable
from scenesearch.runtime.files import atomic_writer, private_folder

Archive = LocalFile | RemoteFile

COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_CAPTION_SUFFIXES = {".txt", ".caption"}
_SIDECAR_SUFFIXES = {*_CAPTION_SUFFIXES, ".json", ".cls"}
_MAX_SIDECAR_BYTES = 1024 * 1024
# Of one archive, in memory until the columns are typed.
_MAX_SIDECARS_BYTES = 256 * 1024 * 1024
# Nobody reads more.
_MAX_PROBLEMS = 10_000


@dataclass(frozen=True)
class _Index:
    """The contents of an archive: pictures with their places, and texts by member name."""

    state: OriginalState
    pictures: Sequence[tuple[str, MemberLocation]]
    sidecars: Mapping[str, str]
    problems: Sequence[Problem]

    def without(self, archive: Archive, leaves_out: Callable[[str], bool]) -> "_Index":
        """The contents without members that are left out, and without RAW files that have a
        rendered picture beside them."""
        pictures = {name: at for name, at in self.pictures if not leaves_out(f"{archive}!{name}")}
        sidecars = {
            name: text
            for name, text in self.sidecars.items()
            if not leaves_out(f"{archive}!{name}")
        }
        problems = [
            # A name that leads out of the archive does not begin with a hidden folder.
            one
            for one in self.problems
            if "../" in one.where or not leaves_out(one.where)
        ]
        kept = [(name, pictures[name]) for name in without_rendered(pictures)]
        return _Index(self.state, kept, sidecars, problems)


def files_source(
    find: Callable[[list[Problem]], Iterator[Archive]],
    roots: Roots,
    *,
    leaves_out: Callable[[str], bool],
    folder: Path | str | None = None,
    declared: Mapping[str, MetadataType] = MappingProxyType({}),
) -> Source:
    """The pictures that `find` gives, and those in the archives that it gives.

    It is called once now, to count, and again for the records; what it cannot use it adds to the
    list. `leaves_out` says which members of archives to pass over, by their whole path. With a
    `folder`, that is where it looks, and SourceError is raised when nothing is there.
    """
    problems: list[Problem] = []
    count, archives = 0, []
    for found in find(problems):
        if is_archive(found.name):
            archives.append(found)
        else:
            count += 1
    root = ""
    if folder is not None:
        if not count and not archives:
            why = f" ({problems[0].where}: {problems[0].reason})" if problems else ""
            raise SourceError(f"{folder} holds no pictures{why}")
        roots.add(folder)
        root = f"{folder}{os.sep if isinstance(folder, Path) else '/'}"
    packed = archive_source(archives, roots, leaves_out, declared)

    def records() -> Iterator[ImageRecord]:
        for found in find([]):
            if not is_archive(found.name):
                yield roots.record(found)
        yield from packed.records()

    problems += packed.problems
    return Source(
        records,
        count + packed.count,
        packed.fields,
        tuple(problems),
        root,
        notes=packed.notes,
        leaves_out=leaves_out,
    )


def archive_source(
    archives: Iterable[Archive],
    roots: Roots,
    leaves_out: Callable[[str], bool],
    declared: Mapping[str, MetadataType] = MappingProxyType({}),
) -> Source:
    """The pictures of these archives, described by the texts next to them.

    Each archive is read through once now (its bodies are skipped where it is a local file), and
    the columns of all are typed together. The contents of a remote archive are stored with the
    library, so that an unchanged one is not read again.
    """
    problems: list[Problem] = []
    notes: list[Problem] = []
    names: list[str] = []

    def report(line: int, reason: str) -> None:
        problems.append(Problem(names[line], reason))

    def note(line: int, text: str) -> None:
        if len(notes) < _MAX_PROBLEMS:
            notes.append(Problem(names[line], text))

    descriptions = Descriptions(report, note, declared)
    usable: list[Archive] = []
    count = 0
    for archive in archives:
        try:
            index = _read(archive, roots.folder).without(archive, leaves_out)
        except OriginalError as error:
            problems.append(Problem(str(archive), str(error)))
            continue
        usable.append(archive)
        problems += index.problems
        count += len(index.pictures)
        of_key = _by_key(name for name, _ in index.pictures)
        for name, text in cancellable(index.sidecars.items()):
            if suffix_of(name) == ".json" and read_takeout(text) is not None:
                continue
            where = f"{archive}!{name}"
            row = _row(name, text)
            if isinstance(row, str):
                problems.append(Problem(where, row))
                continue
            names.append(where)
            for picture in of_key.get(_key(name), ()):
                descriptions.add(f"{archive}!{picture}", len(names) - 1, row)
    described, fields = descriptions.typed()

    def records() -> Iterator[ImageRecord]:
        for archive in usable:
            with suppress(OriginalError):  # reported above; later changes are for the next run
                index = _read(archive, roots.folder).without(archive, leaves_out)
                yield from _records(archive, index, described, roots)

    return Source(
        records,
        count,
        fields=fields,
        problems=tuple(problems),
        notes=tuple(notes),
        leaves_out=leaves_out,
    )


def _records(
    archive: Archive, index: _Index, described: Mapping[str, Description], roots: Roots
) -> Iterator[ImageRecord]:
    where = archive.path if isinstance(archive, LocalFile) else archive.url
    prefix = roots.image_id(where)
    nothing = Description()
    beside = _takeout_of(index)
    for name, place in index.pictures:
        original = TarMember(archive, name, place, index.state)
        said = described.get(str(original), nothing)
        yield ImageRecord(
            f"{prefix}/{name}",
            original,
            said.captions,
            said.tags,
            said.metadata,
            beside(name),
        )


def takeout_beside(original: Original) -> str:
    """The JSON of Google Takeout beside a picture in an archive, '' for none."""
    if not isinstance(original, TarMember):
        return ""
    try:
        return _takeout_of(_read(original.archive, None))(original.member)
    except OriginalError:
        return ""


def _takeout_of(index: _Index) -> Callable[[str], str]:
    """What gives the JSON of Google Takeout beside a picture, '' for none."""
    folders: dict[str, list[str]] = {}
    for name in index.sidecars:
        folder, _, file = name.rpartition("/")
        folders.setdefault(folder, []).append(file)
    names = {folder: takeout_names(files) for folder, files in folders.items()}

    def text(name: str) -> str:
        folder, slash, file = name.rpartition("/")
        found = takeout_of(file, names.get(folder, {}))
        said = "" if found is None else index.sidecars[f"{folder}{slash}{found}"]
        return said if said and read_takeout(said) is not None else ""

    return text


# --- reading an archive ------------------------------------------------------------------------


def _read(archive: Archive, folder: Path | None) -> _Index:
    """The archive's contents; raises OriginalError when nothing of it can be read."""
    state = archive.state()
    if isinstance(archive, LocalFile) or folder is None:
        return _scan(archive, state)
    digest = hashlib.sha256(archive.url.encode()).hexdigest()
    file = folder / "archives" / f"{digest}.json.gz"
    with suppress(
        OSError, ValueError, LookupError, TypeError, EOFError, zlib.error, RecursionError
    ):
        saved = json.loads(gzip.decompress(file.read_bytes()))
        if saved["state"] == _plain(state):
            return _restored(state, saved)
    index = _scan(archive, state)
    private_folder(file.parent)
    with atomic_writer(file, private=True) as out:
        out.write(gzip.compress(json.dumps(_saved(index)).encode(), 5))
    return index


def _scan(archive: Archive, state: OriginalState) -> _Index:
    pictures: dict[str, MemberLocation] = {}
    sidecars: dict[str, str] = {}
    problems: list[Problem] = []
    texts_bytes = 0
    is_remote = isinstance(archive, RemoteFile)
    with open_archive(archive) as file, remote_faults() if is_remote else nullcontext():
        try:
            for name, place in tar_members(file):
                suffix = suffix_of(name)
                wanted = is_picture_name(name)
                if isinstance(place, str):
                    if wanted:
                        shown = name.encode("utf-8", "backslashreplace").decode()
                        problems.append(Problem(f"{archive}!{shown}", place))
                elif wanted or (suffix not in _SIDECAR_SUFFIXES and is_picture(_head(file, place))):
                    pictures[name] = place
                elif suffix in _SIDECAR_SUFFIXES:
                    if place.size_bytes > _MAX_SIDECAR_BYTES:
                        problems.append(Problem(f"{archive}!{name}", "a text of more than 1 MiB"))
                        continue
                    texts_bytes += place.size_bytes
                    if texts_bytes > _MAX_SIDECARS_BYTES:
                        raise OriginalError("more than 256 MiB of texts beside its pictures")
                    file.seek(place.offset)
                    said = _text(file.read(place.size_bytes))
                    if said is None:
                        problems.append(Problem(f"{archive}!{name}", "is not valid UTF-8"))
                    else:
                        sidecars[name] = said
        except OriginalError as error:
            if error.transient:
                raise
            # What comes before the damage is as good as ever.
            problems.append(Problem(str(archive), str(error)))
        except OSError as error:
            raise OriginalError(f"cannot be read: {error}", transient=True) from None
    return _Index(state, list(pictures.items()), sidecars, problems[:_MAX_PROBLEMS])


def _head(file: Any, place: MemberLocation) -> bytes:
    file.seek(place.offset)
    head: bytes = file.read(min(HEAD_BYTES, place.size_bytes))
    return head


def _text(data: bytes) -> str | None:
    """The text beside a picture, in UTF-8 or Windows-1252; None for other bytes."""
    text = data.decode("utf-8-sig", "surrogateescape")
    return text if is_unicode(text) else western(text)


def _key(name: str) -> str:
    """What WebDataset calls a sample: the path up to the first dot of the file name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _by_key(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_key(name), []).append(name)
    return found


def _row(name: str, text: str) -> dict[str, Any] | str:
    """The text next to a picture as columns, or why it is none."""
    suffix = suffix_of(name)
    if suffix in _CAPTION_SUFFIXES:
        return {"caption": text}
    if suffix == ".cls":
        return {"cls": LooseText(text.strip())}
    row = json_row(text)
    if isinstance(row, str):
        return row
    return {key: value for key, value in row.items() if field_name(key)}


# --- the contents of remote archives, remembered -------------------------------------------------


def _plain(state: OriginalState) -> list[Any]:
    return [state.size_bytes, _written(state.modified), state.version]


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _saved(index: _Index) -> dict[str, Any]:
    return {
        "state": _plain(index.state),
        "pictures": [
            [name, at.offset, at.size_bytes, _written(at.modified)] for name, at in index.pictures
        ],
        "sidecars": dict(index.sidecars),
        "problems": [[problem.where, problem.reason] for problem in index.problems],
    }


def _restored(state: OriginalState, saved: Mapping[str, Any]) -> _Index:
    pictures = [
        (
            str(name),
            MemberLocation(offset, size, datetime.fromisoformat(moment) if moment else None),
        )
        for name, offset, size, moment in saved["pictures"]
    ]
    problems = [Problem(where, reason) for where, reason in saved["problems"]]
    return _Index(state, pictures, saved["sidecars"], problems)


def refuse_compressed(name: str) -> None:
    """Raise SourceError for an archive whose members cannot be read one by one."""
    if name.lower().endswith(COMPRESSED_SUFFIXES):
        raise SourceError(
            f"{name} is compressed, and pictures are read from tar archives one by one: "
            "decompress it to .tar first"
        )
