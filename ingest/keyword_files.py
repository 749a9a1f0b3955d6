"""Keywords in the XMP files beside pictures. A picture's own file is never written.

A new file is called `photo.jpg.xmp`, which belongs to `photo.jpg` alone. A `photo.xmp` that other
pictures of that name share is left as it is; `photo.jpg.xmp` then begins as a copy of it.
"""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.sidecar import pictures_of, sidecars_of
from scenesearch.home.allowed_originals import Elsewhere
from scenesearch.home.tag_changes import SideFile
from scenesearch.pictures.originals import LocalFile, Original, OriginalError
from scenesearch.pictures.xmp import MAX_XMP_BYTES
from scenesearch.pictures.xmp_keywords import XmpError, keywords_of, with_keywords
from scenesearch.runtime.files import atomic_writer


@dataclass(frozen=True)
class KeywordFile:
    """A side file to be written: what is in it, None where there is no file, and what comes."""

    path: Path
    before: bytes | None
    after: bytes

    @property
    def note(self) -> SideFile:
        return SideFile.written(self.path, self.before, self.after)

    def write(self) -> None:
        """Raises OSError."""
        _replace(self.path, self.after)


def keyword_file(
    original: Original, *, add: Sequence[str], remove: Sequence[str]
) -> KeywordFile | None:
    """The picture's side file with other keywords; None where it has them already.

    Raises OriginalError and XmpError for one that cannot be written.
    """
    target, content = _side_file(original)
    if content is None and not add:
        return None
    after = with_keywords(content, add=add, remove=remove)
    if after == content:
        return None
    return KeywordFile(target, _read(target), after)


def take_back(written: SideFile, *, added: Sequence[str], removed: Sequence[str]) -> None:
    """Undo a change of these keywords: the file is as it was before, or away where there was none.

    Of a file that somebody has changed since, only the keywords are changed back. Raises
    OriginalError, XmpError and OSError.
    """
    now = _read(written.path)
    if now is None:  # deleted since
        return
    if hashlib.sha256(now).hexdigest() == written.sha256:
        if written.before is None:
            written.path.unlink()
        else:
            _replace(written.path, written.before)
        return
    had = {word.casefold() for word in keywords_of(written.before or b"")}
    after = with_keywords(
        now,
        add=[word for word in removed if word.casefold() in had],
        remove=[word for word in added if word.casefold() not in had],
    )
    if after != now:
        _replace(written.path, after)


def _side_file(original: Original) -> tuple[Path, bytes | None]:
    """Where the picture's keywords go, and the side file that is read for it so far."""
    if isinstance(original, Elsewhere):
        original.read()  # raises with the reason
    if not isinstance(original, LocalFile) or original.path.is_symlink():
        raise OriginalError("only pictures that are files in a folder have side files")
    original.state()  # raises for one that is away
    own = original.path.with_name(f"{original.path.name}.xmp")
    # A file of this moment may not be listed yet.
    beside = [one.file.path for one in sidecars_of(original) if one.is_xmp] or [own]
    content = _read(beside[0])
    if beside[0].name.lower() == own.name.lower() or len(pictures_of(beside)) == 1:
        return beside[0], content
    return own, content


def _read(path: Path) -> bytes | None:
    """What is in the side file; None where there is none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OriginalError(f"{path.name} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise OriginalError(f"{path.name} is no regular file")
    if status.st_size > MAX_XMP_BYTES:
        raise XmpError(f"{path.name} has more than 4 MiB")
    return LocalFile(path).read() if status.st_size else b""


def _replace(path: Path, content: bytes) -> None:
    """Write the file as a whole, with the mode that it had."""
    with atomic_writer(path) as out:
        if path.exists():
            os.fchmod(out.fileno(), stat.S_IMODE(path.stat().st_mode))
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
