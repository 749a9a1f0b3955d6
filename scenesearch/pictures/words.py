"""Texts that strangers wrote into files: decoded, on one line, without control characters."""

import re
from collections.abc import Iterable
from typing import Any, Final

from scenesearch.pictures.records import MAX_TAG_CHARS, MAX_TAGS

MAX_CHARS: Final = 200  # of a title, of the name of a camera

# What cameras write into the field for a description.
_CAMERA_NOISE = re.compile(
    r"(olympus|konica minolta|minolta|sony|samsung|kodak|ricoh|pentax|casio|jenoptik)\b"
    r".*(digital|camera|dsc)|sony dsc|dcim.*|dji_.*|exif_jpeg_picture|<?digimax.*|default|untitled"
    r"|dav|hdr|hdrpl|sdr|btf|cof|rhdr|edf|nor|mde|qrf|[a-z]*_?vga|image description",
    re.IGNORECASE,
)


def decoded(data: bytes) -> str:
    """Text of no declared character set: UTF-8 where it is valid UTF-8, else Latin-1.

    Text in Latin-1 with letters beyond ASCII is practically never valid UTF-8. Windows' variant of
    Latin-1 also has dashes and curly quotes where Latin-1 has nothing.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def one_line(value: Any, most: int | None = MAX_CHARS) -> str | None:
    """Printable text on one line, at most `most` characters; None if nothing is left."""
    if isinstance(value, bytes):
        value = decoded(value)
    if not isinstance(value, str):
        return None
    line = " ".join(value.split())
    printable = line if line.isprintable() else "".join(filter(str.isprintable, line)).strip()
    return printable[:most] or None


def is_camera_noise(description: str) -> bool:
    """Whether a description is what a camera writes into every picture, or has no letters."""
    has_letters = re.search(r"[^\W\d_]", description) is not None
    return not has_letters or _CAMERA_NOISE.fullmatch(description) is not None


def distinct(words: Iterable[str], what: str, notes: list[str]) -> tuple[str, ...]:
    """Each word once, in the order written; capitals are kept. `what` names them in notes."""
    found: dict[str, str] = {}
    cut = 0
    for word in words:
        if text := one_line(word, most=None):
            cut += len(text) > MAX_TAG_CHARS
            text = text[:MAX_TAG_CHARS].rstrip()
            found.setdefault(text.casefold(), text)
    if cut:
        notes.append(f"{cut:,} {what} are cut to {MAX_TAG_CHARS} characters")
    if len(found) > MAX_TAGS:
        notes.append(f"{len(found):,} {what}; the first {MAX_TAGS} are kept")
    return tuple(found.values())[:MAX_TAGS]
