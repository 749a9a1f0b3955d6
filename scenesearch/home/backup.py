"""A library's collection in one portable file, to move from one home of the store to the other.

The file is a plain zip, which any tool can open:

    scenesearch-backup.json   format, specification with encoder and fields; size and SHA-256 of
                              every other part
    points/000000.jsonl       payloads of up to 2,000 pictures, one object per line
    vectors/000000.npy        their vectors in the same order, float32 (n, dimension)
    library/sources.json      the folders the library was filled from. They decide image ids. After
                              a restore they open no file until they are ingested there.
    library/feedback.json     which hits users marked as right or wrong
    library/requests.json     saved requests: the library's live collections

The zip's comment is the SHA-256 of scenesearch-backup.json, so any changed byte is noticed. There
are no pictures and encoders in it, and never pickles. A file may come from a stranger: it is read
in pieces of limited size, nothing is unpacked to disk, and every value is checked against the
declaration of its field before the first point is written (`scenesearch.home.restore`).
"""

import hashlib
import io
import json
import os
import re
import struct
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from scenesearch.errors import SceneSearchError
from scenesearch.home.feedback import Mark
from scenesearch.home.roots import Root, parse_roots
from scenesearch.home.saved_collections import CollectionError, SavedCollection
from scenesearch.pictures.records import MetadataType
from scenesearch.runtime.files import atomic_writer
from scenesearch.store.base import MOST_DIMENSIONS, CollectionSpec, Point, StoreError, VectorStore
from scenesearch.store.fields import BUILTIN_FIELDS, LONGEST_NAME, Widget, by_name
from scenesearch.store.pages import PAGE, OnWait, pages
from scenesearch.store.payload import check_image_id, key_path
from scenesearch.store.values import checks_of, misfit

FORMAT = "scenesearch-backup"
# Version 1 had no feedback and no requests, version 2 no names of requests; both are still read.
VERSION = 3

_MANIFEST = "scenesearch-backup.json"
_SOURCES = "library/sources.json"
_FEEDBACK = "library/feedback.json"
_REQUESTS = "library/requests.json"
_MOST_MANIFEST_BYTES = 32 * 2**20  # 100 million points need 25 MB
_MOST_PART_BYTES = 256 * 2**20
_MOST_FILE_BYTES = 64 * 2**20
_MOST_LINE_BYTES = 8 * 2**20  # of one payload
_UNIT = 1e-3  # how far a vector's length may be from 1

# What `zipfile` and its codecs raise for a damaged or forged file.
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
)
# The header that numpy writes for an array in C order; no other is accepted.
_ARRAY_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[A-Za-z]\d{0,3})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19})?)\),? *\} *\n"
)

Progress = Callable[[int, int], None]


class BackupError(SceneSearchError):
    """The file cannot be used; the message is one sentence for the user."""


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Part(_Declared):
    name: str = Field(pattern=r"^(points|vectors)/[0-9]{6,9}\.(jsonl|npy)$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0, le=_MOST_PART_BYTES)


class _Chunk(_Declared):
    points: int = Field(gt=0, le=PAGE)
    payloads: _Part
    vectors: _Part


class _File(_Declared):
    name: Literal["library/sources.json", "library/feedback.json", "library/requests.json"]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0, le=_MOST_FILE_BYTES)


_Request = Annotated[str, Field(pattern=r"\S", max_length=10_000)]


class _Mark(_Declared):
    text: _Request
    image_id: str = Field(min_length=1, max_length=LONGEST_NAME)
    mark: Literal["right", "wrong"]
    marked: str = Field(max_length=64)


class _DeclaredField(_Declared):
    name: str = Field(min_length=1, max_length=256)
    type: MetadataType
    label: str = Field(max_length=256)
    help: str = Field("", max_length=2000)
    multiple: bool = False
    hierarchical: bool = False
    widget: Widget = "none"


class _Spec(_Declared):
    library: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$")
    encoder: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    fingerprint: str = Field(min_length=1, max_length=128)
    dimension: int = Field(ge=1, le=MOST_DIMENSIONS)
    fields: Annotated[tuple[_DeclaredField, ...], Field(max_length=1000)]
    image_fingerprint: str = Field("", max_length=128)
    created: str = Field("", max_length=64)
    words: bool = True


class _Manifest(_Declared):
    format: Literal["scenesearch-backup"]
    version: int = Field(ge=1)
    created: str = Field(max_length=64)
    collection: str = Field(max_length=128)
    spec: _Spec
    points: int = Field(ge=0)
    chunks: tuple[_Chunk, ...]
    files: Annotated[tuple[_File, ...], Field(max_length=3)] = ()


@dataclass(frozen=True)
class Contents:
    """What a backup says about itself; `spec` is that of the collection it was made from."""

    file: Path
    created: str
    collection: str
    spec: CollectionSpec
    points: int


@dataclass(frozen=True)
class Beside:
    """What a library has beside its collection: the folders it was filled from, feedback about
    hits, and saved requests."""

    sources: Mapping[str, Root] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    requests: tuple[SavedCollection, ...] = ()


def write_backup(
    store: VectorStore,
    library: str,
    file: Path,
    *,
    beside: Beside | None = None,
    on_progress: Progress | None = None,
    on_wait: OnWait | None = None,
) -> Contents:
    """Write the library's live collection and what is beside it; the file appears once complete.

    Points that are written or deleted in the meantime may be in it or not. Raises BackupError if
    the file exists.
    """
    if file.exists():
        raise BackupError(f"{file} already exists: give another name")
    if not file.parent.is_dir():
        raise BackupError(f"{file.parent} is no folder")
    collection = store.resolve(library)
    spec = store.describe(collection)
    total = store.count(collection)
    chunks: list[dict[str, Any]] = []
    written = 0
    with atomic_writer(file, private=True) as out:  # for the owner alone: everything is in it
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for page in pages(store, collection, with_vectors=True, on_wait=on_wait):
                number = f"{len(chunks):06}"
                chunks.append(
                    {
                        "points": len(page),
                        "payloads": _put(archive, f"points/{number}.jsonl", _lines(page)),
                        "vectors": _put(archive, f"vectors/{number}.npy", _array(page)),
                    }
                )
                written += len(page)
                if on_progress is not None:
                    on_progress(written, max(total, written))
            beside = beside or Beside()
            contents = {
                _SOURCES: {place: root.prefix for place, root in beside.sources.items()},
                _FEEDBACK: [mark.to_json() for mark in beside.marks],
                _REQUESTS: [one.to_json() for one in beside.requests],
            }
            files = [
                _put(archive, part, json.dumps(content).encode())
                for part, content in contents.items()
                if content
            ]
            created = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = {
                "format": FORMAT,
                # Without names of requests an earlier version can read it.
                "version": VERSION if not all(one.is_plain for one in beside.requests) else 2,
                "created": created,
                "collection": collection,
                "spec": spec.to_json(),
                "points": written,
                "chunks": chunks,
                "files": files,
            }
            data = json.dumps(manifest, ensure_ascii=False).encode()
            archive.writestr(_MANIFEST, data)
            archive.comment = hashlib.sha256(data).hexdigest().encode()
        out.flush()
        os.fsync(out.fileno())
    return Contents(file, created, collection, spec, written)


class Backup:
    """An open backup; everything it returns has been checked. Raises BackupError."""

    def __init__(self, file: Path, archive: zipfile.ZipFile) -> None:
        self._file = file
        self._archive = archive
        self._manifest = self._read_manifest()
        spec = CollectionSpec.from_json(self._manifest.spec.model_dump())
        self.contents = Contents(
            file, self._manifest.created, self._manifest.collection, spec, self._manifest.points
        )

    def verify(self, on_progress: Progress | None = None) -> None:
        """Read and check every part."""
        done = 0
        self._check_fields()
        ids = _Ids()
        for points in self.chunks():
            done += len(points)
            ids.add(point.image_id for point in points)
            if on_progress is not None:
                on_progress(done, self.contents.points)
        if done != self.contents.points:
            self._refuse(f"it says {self.contents.points} pictures and holds {done}")
        if suspects := ids.doubled():
            self._check_ids(suspects)
        self.beside()

    def _check_fields(self) -> None:
        declared = self.contents.spec.fields
        builtin = by_name(BUILTIN_FIELDS)
        if len(by_name(declared)) != len(declared):
            self._refuse("it declares a field twice")
        for field_ in declared:
            with self._refusing(f"the field {field_.name!r}"):
                key_path(field_.name)
            ours = builtin.get(field_.name)
            if ours is not None and ours.is_fixed and ours.type != field_.type:
                self._refuse(f"the field {field_.name!r} is {ours.type}, not {field_.type}")
            if not field_.is_consistent:
                self._refuse(f"the field {field_.name!r} is impossible for a {field_.type} field")

    def _check_ids(self, suspects: set[int]) -> None:
        """Refuse an image id that occurs twice; two ids may also only have the same hash."""
        seen: set[str] = set()
        for points in self.chunks():
            for point in points:
                if _id_hash(point.image_id) not in suspects:
                    continue
                if point.image_id in seen:
                    self._refuse(f"it names the picture {point.image_id[:200]!r} twice")
                seen.add(point.image_id)

    def chunks(self) -> Iterator[list[Point]]:
        """The points in pieces of at most 2,000."""
        for chunk in self._manifest.chunks:
            payloads = self._payloads(chunk)
            vectors = self._vectors(chunk)
            yield [
                Point(payload["image_id"], vector, payload)
                for payload, vector in zip(payloads, vectors, strict=True)
            ]

    def beside(self) -> Beside:
        """What the library had beside its collection."""
        sources: dict[str, Root] = {}
        marks: list[_Mark] = []
        requests: list[SavedCollection] = []
        for part in self._manifest.files:
            data = self._part(part.name, part.bytes, part.sha256)
            try:
                if part.name == _SOURCES:
                    named = TypeAdapter(dict[str, str]).validate_json(data)
                    sources = parse_roots({place: {"prefix": named[place]} for place in named})
                elif part.name == _FEEDBACK:
                    marks = TypeAdapter(list[_Mark]).validate_json(data)
                else:
                    said = TypeAdapter(list[Any]).validate_json(data)
                    requests = [SavedCollection.from_json(one) for one in said]
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                self._refuse(f"{part.name}{f', {where[:200]}' if where else ''}: {first['msg']}")
            except (ValueError, CollectionError) as error:
                self._refuse(f"{part.name}: {error}")
        return Beside(
            sources,
            tuple(Mark(m.text, m.image_id, m.mark == "right", m.marked) for m in marks),
            tuple(requests),
        )

    def _read_manifest(self) -> _Manifest:
        try:
            info = self._archive.getinfo(_MANIFEST)
        except KeyError:
            raise BackupError(f"{self._file} is a zip file but no scenesearch backup") from None
        if info.file_size > _MOST_MANIFEST_BYTES:
            self._refuse(f"{_MANIFEST} is too large")
        data = self._read(_MANIFEST, info.file_size)
        if self._archive.comment != hashlib.sha256(data).hexdigest().encode():
            self._refuse(f"{_MANIFEST} does not have its checksum")
        try:
            manifest = _Manifest.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            self._refuse(f"{_MANIFEST}: {where}: {first['msg']}")
        if manifest.version > VERSION:
            raise BackupError(
                f"{self._file} was written by a later version of scenesearch (format "
                f"{manifest.version}, this one reads {VERSION})"
            )
        return manifest

    def _payloads(self, chunk: _Chunk) -> list[dict[str, Any]]:
        part = chunk.payloads
        lines = self._part(part.name, part.bytes, part.sha256).splitlines()
        if len(lines) != chunk.points:
            self._refuse(f"{part.name} has {len(lines)} lines, not {chunk.points}")
        found: list[dict[str, Any]] = []
        checks = checks_of(self.contents.spec.fields)
        for number, line in enumerate(lines, 1):
            if len(line) > _MOST_LINE_BYTES:
                self._refuse(f"{part.name}, line {number} is too long")
            try:
                payload = json.loads(line, parse_constant=_no_constant)
                if b"\\u" in line:  # it may be half of a surrogate pair, which cannot be stored
                    json.dumps(payload, ensure_ascii=False).encode()
            except (ValueError, RecursionError) as error:
                self._refuse(f"{part.name}, line {number}: {error}")
            if not isinstance(payload, dict) or not isinstance(payload.get("image_id"), str):
                self._refuse(f"{part.name}, line {number}: no object with an image_id")
            with self._refusing(f"{part.name}, line {number}"):
                check_image_id(payload["image_id"])
            if (key := misfit(payload, checks)) is not None:
                self._refuse(f"{part.name}, line {number}: {key[:200]!r} is no value of that field")
            found.append(payload)
        return found

    def _vectors(self, chunk: _Chunk) -> NDArray[np.float32]:
        part = chunk.vectors
        data = self._part(part.name, part.bytes, part.sha256)
        shape = (chunk.points, self.contents.spec.dimension)
        begins = len(np.lib.format.MAGIC_PREFIX) + 4
        length = int.from_bytes(data[begins - 2 : begins], "little")
        # Read here and not by numpy, which parses the header as Python.
        header = _ARRAY_HEADER.fullmatch(data, begins, begins + length)
        if data[: begins - 2] != np.lib.format.magic(1, 0) or header is None:
            self._refuse(f"{part.name} is no array that a backup holds")
        declared = tuple(int(side) for side in header[3].split(b",") if side.strip())
        kind = header[1].decode()
        if (declared, header[2], kind) != (shape, b"False", "<f4"):
            self._refuse(f"{part.name} holds {_kind(kind)} {declared}, not float32 {shape}")
        rest = data[begins + length :]
        if len(rest) != 4 * shape[0] * shape[1]:
            self._refuse(f"{part.name} is not as long as it says")
        vectors = np.frombuffer(rest, "<f4").reshape(shape).astype(np.float32, copy=False)
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        # In this form a NaN is refused too: no comparison with it is true.
        if not (np.abs(lengths - 1) < _UNIT).all():
            self._refuse(f"{part.name} holds a vector that is not of unit length")
        return vectors

    def _part(self, name: str, size: int, sha256: str) -> bytes:
        data = self._read(name, size)
        if hashlib.sha256(data).hexdigest() != sha256:
            self._refuse(f"{name} does not have its checksum")
        return data

    def _read(self, name: str, size: int) -> bytes:
        """Read the part, which must have exactly that size; never more of it is in memory."""
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            self._refuse(f"{name} is missing")
        # Other codecs have other errors and other zip bombs, and no backup is written with them.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            self._refuse(f"{name} is compressed in a way that no backup uses")
        try:
            with self._archive.open(info) as part:
                data = part.read(size)
                more = part.read(1)
        except _ZIP_FAULTS:
            self._refuse(f"{name} cannot be read")
        if more or len(data) != size:
            self._refuse(f"{name} is not as long as it says")
        return data

    @contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            self._refuse(f"{what}: {error}")

    def _refuse(self, why: str) -> NoReturn:
        raise BackupError(f"{self._file} is damaged or forged: {why}")


@contextmanager
def open_backup(file: Path) -> Iterator[Backup]:
    """The backup in the file; raises BackupError if it is none or was cut short."""
    try:
        start = file.open("rb")
    except OSError as error:
        raise BackupError(f"{file} cannot be read: {error.strerror or error}") from None
    with closing(start):
        is_zip = start.read(4) == b"PK\x03\x04"
        try:
            archive = zipfile.ZipFile(start)
        except _ZIP_FAULTS:
            why = "is cut short or damaged" if is_zip else "is no scenesearch backup"
            raise BackupError(f"{file} {why}: it is not a whole zip file") from None
        with archive:
            yield Backup(file, archive)


class _Ids:
    """Finds image ids that occur twice; takes eight bytes of memory for each id."""

    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, image_ids: Iterable[str]) -> None:
        self._hashes.extend(map(_id_hash, image_ids))

    def doubled(self) -> set[int]:
        """The hashes that occurred more than once."""
        ordered = np.sort(np.frombuffer(self._hashes, np.uint64))
        return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _id_hash(image_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=8).digest(), "little")


def _kind(descr: str) -> str:
    try:
        return np.dtype(descr).name
    except (TypeError, ValueError):
        return descr


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> dict[str, Any]:
    # Vectors do not get smaller, and compressing them takes long.
    how = zipfile.ZIP_STORED if name.endswith(".npy") else zipfile.ZIP_DEFLATED
    archive.writestr(name, data, compress_type=how)
    return {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _lines(page: list[Point]) -> bytes:
    rows = (dict(point.payload) | {"image_id": point.image_id} for point in page)
    # In ASCII, so that a Unicode line separator in a caption ends no line.
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()


def _array(page: list[Point]) -> bytes:
    out = io.BytesIO()
    vectors = np.stack([point.vector for point in page if point.vector is not None])
    np.lib.format.write_array(out, vectors.astype("<f4"), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
