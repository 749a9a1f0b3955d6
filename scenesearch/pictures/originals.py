"""Where the bytes of a picture are: a local file, a member of a tar archive, a URL.

Each is stored as one string, `payload["path"]`, and `original_of` turns it back:

    /photos/a.jpg                          a file
    /shards/train-0001.tar!dogs/a.jpg      a member of an archive (also of a remote one)
    s3://bucket/a.jpg  gs://  http(s)://   through fsspec, with the extra `remote`
"""

import os
import re
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, Protocol

from scenesearch.errors import SceneSearchError, first_line
from scenesearch.runtime.cancel import check_cancelled

# Files are read whole into memory, so that hash and picture come from the same bytes.
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
# A longer tar header is hostile: the longest real ones are file names.
_MAX_HEADER_BYTES: Final = 128 * 1024
# No real number in a header is this long, and tarfile needs quadratic time for it.
_DIGITS: Final = re.compile(rb"\d{256}")
# They are copied for each member.
_MAX_GLOBAL_HEADERS: Final = 200
# Each takes 20 microseconds.
_MAX_MEMBERS: Final = 2_000_000
_MEMBER_MARK: Final = "!"
_NO_NAME: Final = "this is no name of a file"  # it contains a zero byte
_URL = re.compile(r"(s3|gs|gcs|https?)://[^/]")
_TIMEOUT_S: Final = 60.0
# For a whole response: a server that sends a byte a minute must not hold up the run.
_REQUEST_S: Final = 900.0


class OriginalError(SceneSearchError):
    """The bytes cannot be read; the message is the reason, without the path.

    `transient` means that a later try may succeed though size and time stay the same: a network, a
    disk or a permission was missing, or the file was being written. `missing` means that the place
    could be reached and does not have the file.
    """

    def __init__(self, reason: str, *, transient: bool = False, missing: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient
        self.missing = missing


@dataclass(frozen=True)
class OriginalState:
    """Size and age of an original: they show, without reading it, whether it has changed.

    `modified` has a time zone; `version` is a server's ETag, or the state of the archive.
    """

    size_bytes: int
    modified: datetime | None = None
    version: str = ""


class Original(Protocol):
    """One picture's bytes; `original_of(str(original))` gives it back."""

    @property
    def name(self) -> str:
        """The file name, for people and for its suffix."""

    def state(self) -> OriginalState:
        """Size and age, without reading the file; raises OriginalError."""

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """All bytes, or `length` bytes from `start`; raises OriginalError. A file read whole must
        not be empty or larger than `MAX_FILE_BYTES`."""


@dataclass(frozen=True)
class LocalFile:
    """A regular file of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    def state(self) -> OriginalState:
        try:
            status = self.path.stat()
        except OSError as error:
            raise _unreadable(error) from None
        except ValueError:
            raise OriginalError(_NO_NAME) from None
        if not stat.S_ISREG(status.st_mode):
            raise OriginalError("not a regular file")
        return OriginalState(status.st_size, _moment(status.st_mtime_ns))

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        try:
            # Non-blocking, so that a FIFO in place of a file cannot hang the run.
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                before = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise OriginalError("not a regular file")
                if length is not None:
                    file.seek(start)
                    part = _exactly(file, length)
                    if len(part) < length:
                        raise OriginalError("shorter than it was said to be")
                    return part
                _check_size(before.st_size)
                data = _exactly(file, before.st_size)
                after = os.fstat(file.fileno())
        except OSError as error:
            raise _unreadable(error) from None
        except ValueError:
            raise OriginalError(_NO_NAME) from None
        is_whole = len(data) == before.st_size == after.st_size
        if not is_whole or before.st_mtime_ns != after.st_mtime_ns:
            raise OriginalError("changed while it was read", transient=True)
        return data


@dataclass(frozen=True)
class RemoteFile:
    """An object or page at a URL; `listed` is its state if a listing gave it."""

    url: str
    listed: OriginalState | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name

    def state(self) -> OriginalState:
        if self.listed is not None:
            return self.listed
        with remote_faults():
            return remote_state(file_system(self.url).info(self.url))

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        with remote_faults():
            if length is not None:
                data: bytes = file_system(self.url).cat_file(
                    self.url, start=start, end=start + length
                )
                if len(data) != length:  # a server may send the whole instead of a part
                    data = data[start : start + length]
                if len(data) != length:
                    raise OriginalError("shorter than it was said to be", transient=True)
                return data
            # One request, read no further than the limit.
            with file_system(self.url).open(self.url, "rb", **_one_request(self.url)) as file:
                data = _exactly(file, MAX_FILE_BYTES + 1)
        expected = self.listed.size_bytes if self.listed is not None else len(data)
        if len(data) < min(expected, MAX_FILE_BYTES):
            raise OriginalError("shorter than it was said to be", transient=True)
        _check_size(len(data))
        return data


@dataclass(frozen=True)
class MemberLocation:
    """Where a member's bytes are in its archive, and its modification time."""

    offset: int
    size_bytes: int
    modified: datetime | None


@dataclass(frozen=True)
class TarMember:
    """A regular file inside an uncompressed tar archive, found by its name.

    Nothing is looked up if `location` and `archive_state` are given.
    """

    archive: LocalFile | RemoteFile
    member: str
    location: MemberLocation | None = field(default=None, compare=False)
    archive_state: OriginalState | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.archive}{_MEMBER_MARK}{self.member}"

    @property
    def name(self) -> str:
        return PurePosixPath(self.member).name

    def state(self) -> OriginalState:
        location = self._locate()
        archive = self.archive_state or self.archive.state()
        age = archive.modified.isoformat() if archive.modified else ""
        version = archive.version or f"{archive.size_bytes}-{age}"
        return OriginalState(location.size_bytes, location.modified or archive.modified, version)

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        location = self._locate()
        if length is None:
            _check_size(location.size_bytes)
            start, length = 0, location.size_bytes
        length = min(length, location.size_bytes - start)
        try:
            return self.archive.read(location.offset + start, length)
        except OriginalError as error:
            raise OriginalError(f"its archive: {error}", transient=error.transient) from None

    def _locate(self) -> MemberLocation:
        if self.location is not None:
            return self.location
        state = self.archive_state or self.archive.state()
        location = _locations(self.archive, state).get(self.member)
        if location is None:
            raise OriginalError("its archive does not hold it", missing=True)
        return location


def original_of(path: str) -> Original:
    """The original that a payload's `path` names; opens nothing and raises nothing."""
    archive, mark, member = path.partition(".tar" + _MEMBER_MARK)
    if is_url(path):
        return TarMember(RemoteFile(f"{archive}.tar"), member) if mark else RemoteFile(path)
    # A file's own name may contain the mark, so the file system decides where the archive ends.
    local = Path(path)
    if _MEMBER_MARK in path and not os.path.isfile(path):  # noqa: PTH113 - never raises
        for mark_at in re.finditer(_MEMBER_MARK, path):
            if os.path.isfile(path[: mark_at.start()]):  # noqa: PTH113
                return TarMember(LocalFile(Path(path[: mark_at.start()])), path[mark_at.end() :])
    return LocalFile(local)


def is_url(path: str) -> bool:
    """Whether it is a URL with a scheme that we read; `file:` and others are not."""
    return _URL.match(path) is not None


# --- tar archives ------------------------------------------------------------------------------


def tar_members(file: IO[bytes]) -> Iterator[tuple[str, MemberLocation | str]]:
    """Names in an uncompressed tar archive, each with its location or the reason to refuse it.

    Folders are skipped. Raises OriginalError if the file is damaged or not an archive.
    """
    seen: set[str] = set()
    at = -1
    try:
        with tarfile.open(fileobj=_HeaderReader(file), mode="r:") as archive:  # type: ignore[call-overload]
            while (info := archive.next()) is not None:
                archive.members = []  # otherwise it keeps every header it has read
                if archive.offset <= at or info.size < 0:
                    raise OriginalError("damaged archive: its headers lead back")
                at = archive.offset
                if len(archive.pax_headers) > _MAX_GLOBAL_HEADERS:
                    raise OriginalError(f"over {_MAX_GLOBAL_HEADERS} headers for all its members")
                if info.isdir():
                    continue
                name = info.name.removeprefix("./")
                reason = _refused(name, info)
                if reason is None and name in seen:
                    reason = "the archive holds another of this name; the first counts"
                seen.add(name)
                if len(seen) > _MAX_MEMBERS:
                    raise OriginalError(f"more than {_MAX_MEMBERS:,} members; the first count")
                moment = _moment(int(info.mtime * 1e9)) if info.mtime else None
                yield name, reason or MemberLocation(info.offset_data, info.size, moment)
            # tarfile takes anything that is not a header for the end; only zeros are the end.
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):
                raise OriginalError("damaged archive: a header is cut or overwritten")
    except tarfile.TarError as error:
        raise OriginalError(f"damaged or no tar archive: {error}") from None
    except RecursionError:  # a header of a header of a header
        raise OriginalError("damaged archive: a thousand headers for one member") from None
    except (ValueError, OverflowError, IndexError) as error:
        raise OriginalError(f"damaged archive: {error}") from None


def open_archive(archive: LocalFile | RemoteFile) -> IO[bytes]:
    """The archive as a file for `tar_members`; raises OriginalError."""
    if isinstance(archive, LocalFile):
        archive.state()  # a FIFO would hang the next line
        try:
            return archive.path.open("rb")
        except OSError as error:
            raise _unreadable(error) from None
    with remote_faults():
        opened: IO[bytes] = file_system(archive.url).open(archive.url, "rb")
        return opened


@lru_cache(maxsize=4)
def _locations(archive: LocalFile | RemoteFile, state: OriginalState) -> dict[str, MemberLocation]:
    """The members of the archive in this state, by name."""
    with open_archive(archive) as file, remote_faults():
        return {name: at for name, at in tar_members(file) if isinstance(at, MemberLocation)}


def _refused(name: str, info: tarfile.TarInfo) -> str | None:
    """Why a member is refused; a name from a stranger may try to lead out of its archive."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the name is not valid Unicode"
    parts = re.split(r"[/\\]", name)
    is_absolute = name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name)
    if not name or "\0" in name or is_absolute or ".." in parts:
        return "the name leads out of the archive"
    if not info.isreg() or info.issparse():
        return "a link or special file inside an archive is not read"
    return None


class _HeaderReader:
    """The file for `tarfile`; refuses to read more at once than a header can need."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is too long")
        check_cancelled()
        header = self._file.read(size)
        if len(header) > tarfile.BLOCKSIZE and _DIGITS.search(header):
            raise tarfile.ReadError("a header with a number of more than 256 digits")
        return header


# --- addresses ---------------------------------------------------------------------------------


def file_system(url: str) -> Any:
    """The fsspec file system of a URL, without its cache of listings, which would grow.

    Raises OriginalError when the extra for it is not installed.
    """
    scheme = url.partition("://")[0]
    return _file_system("http" if scheme == "https" else scheme)


@lru_cache(maxsize=8)
def _file_system(scheme: str) -> Any:
    try:
        import fsspec

        # Cached here, because fsspec's own cache would outlive a change of credentials.
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if scheme == "http":
            import aiohttp

            timeout = aiohttp.ClientTimeout(
                total=_REQUEST_S, sock_connect=_TIMEOUT_S, sock_read=_TIMEOUT_S
            )
            options["client_kwargs"] = {"timeout": timeout}
        return fsspec.filesystem(scheme, **options)
    except ImportError:
        raise OriginalError(
            f"{scheme}:// needs the extra 'remote': pip install -e '.[remote]'"
        ) from None


def remote_state(info: dict[str, Any]) -> OriginalState:
    """The state from fsspec's listing or `info` of one object; raises OriginalError without a
    size."""
    size = info.get("size")
    if not isinstance(size, int):
        raise OriginalError("the server does not say how large it is")
    modified = next(
        (
            moment
            for key in ("LastModified", "Last-Modified", "mtime", "updated", "created")
            if (moment := _remote_moment(info.get(key))) is not None
        ),
        None,
    )
    version = next((str(info[key]) for key in ("ETag", "etag", "Content-MD5") if info.get(key)), "")
    return OriginalState(size, modified, version.strip('"'))


def _remote_moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            try:
                value = parsedate_to_datetime(value)
            except ValueError:
                return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def _one_request(url: str) -> dict[str, Any]:
    """Options that make reading a URL to its end one streamed request."""
    return {"block_size": 0} if url.startswith("http") else {"cache_type": "none"}


@contextmanager
def remote_faults() -> Iterator[None]:
    """Turn what a client raises about one object into OriginalError; anything else is a bug."""
    try:
        yield
    except OriginalError:
        raise
    except Exception as error:
        # fsspec reports an unreachable page as missing too; the cause tells what happened.
        cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
        raise _remote_fault(cause or error) from None


def _remote_fault(error: BaseException) -> OriginalError:
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return OriginalError("no such file", missing=True)
    if isinstance(error, PermissionError) or status in (401, 403):
        return OriginalError(f"cannot be read: {first_line(error)}")
    if isinstance(error, OSError | TimeoutError | ValueError):
        return OriginalError(f"cannot be read: {first_line(error)}", transient=True)
    # aiohttp, botocore and google-auth have no common base, and importing them would take long.
    if type(error).__module__.partition(".")[0] in _CLIENTS:
        return OriginalError(f"cannot be read: {first_line(error)}", transient=True)
    raise error


_CLIENTS = {"aiohttp", "botocore", "aiobotocore", "google", "gcsfs", "fsspec", "requests"}


# --- local details -----------------------------------------------------------------------------


def _exactly(file: IO[bytes], length: int) -> bytes:
    """This many bytes, fewer only at the end of the file: one unbuffered read may return less."""
    parts = []
    while length > 0 and (part := file.read(length)):
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_size(size: int) -> None:
    if size == 0:
        raise OriginalError("empty file")
    if size > MAX_FILE_BYTES:
        raise OriginalError(f"{size / 2**20:.0f} MiB, the limit is {MAX_FILE_BYTES // 2**20} MiB")


def _unreadable(error: OSError) -> OriginalError:
    if isinstance(error, IsADirectoryError):
        return OriginalError("not a regular file")
    # A disk may come back or a permission be given: neither changes the file's size and time.
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return OriginalError("no such file", transient=True, missing=True)
    return OriginalError(f"cannot be read: {error.strerror or error}", transient=True)


def _moment(nanoseconds: int) -> datetime | None:
    """The moment, or None for one outside the calendar."""
    try:
        return datetime.fromtimestamp(nanoseconds // 1000 / 1e6, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None
