"""Which files are pictures: by a known suffix, otherwise by their first bytes.

A suffix only decides whether a file is opened; its content decides the format.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Final

# The formats that are decoded. Pillow knows many more, which no photo library needs and which would
# only give hostile files more decoders to attack.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "AVIF", "HEIF")
SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif"}
)
RAW_SUFFIXES: Final = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef"}
    | {".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf"}
    | {".srw", ".x3f"}
)

# How many bytes of a file `is_picture` and `is_raw` need.
HEAD_BYTES: Final = 512

_STARTS: Final = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",  # TIFF, and most camera RAW
    b"MM\0*",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000, as file and as bare codestream
    b"\xff\x4f\xff\x51",
)
# With the number that follows the letters, so that a text about an MMORPG is none.
_RAW_STARTS: Final = (
    *(b"FUJIFILMCCD-RAW", b"IIRO\x08\0", b"IIRS\x08\0", b"MMOR\0\0", b"IIU\0", b"\0MRM"),
    *(b"FOVb" + bytes([minor, 0, major, 0]) for major in range(2, 5) for minor in range(8)),
)
_BRANDS: Final = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})


def is_picture(head: bytes) -> bool:
    """Whether a file with these first bytes may be a picture, camera RAW included."""
    if head.startswith(_STARTS) or is_raw(head):
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] in _BRANDS or head[8:12] in (b"avif", b"avis")
    # Two letters prove little: a BMP also needs a header of known length, a PNM its whole header.
    if head[:2] == b"BM":
        return head[14:18] in (b"\x0c\0\0\0", b"(\0\0\0", b"l\0\0\0", b"|\0\0\0")
    return _is_pnm(head)


_GAP = rb"(?:\s|#[^\r\n]*+[\r\n])++"
_PNM = re.compile(rb"P([1-6])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})(?=\s)")
_PNM_LARGEST = re.compile(_GAP + rb"([1-9]\d{0,4})\s")
_DIGITS = re.compile(rb"[\d\s]*+(?:#.*)?", re.DOTALL)


def _is_pnm(head: bytes) -> bool:
    """Whether it begins like a PNM: a letter, a digit and a blank also begin texts ('P1 bugs')."""
    found = _PNM.match(head)
    if found is None or not int(found[2]) or not int(found[3]):
        return False
    kind, body = int(found[1]), found.end()
    if kind not in (1, 4):
        largest = _PNM_LARGEST.match(head, body)
        if largest is None:
            return False
        body = largest.end()
    if kind <= 3:  # in digits
        return _DIGITS.fullmatch(head, body) is not None
    # The head of a short file is all of it: then it must have a bit for each pixel at least.
    return len(head) == HEAD_BYTES or (len(head) - body) * 8 >= int(found[2]) * int(found[3])


def is_raw(head: bytes) -> bool:
    """Whether it is a RAW format with first bytes of its own; other RAW files look like TIFF."""
    if head.startswith(b"II*\0") and head[8:10] == b"CR":  # Canon's CR2
        return True
    return head.startswith(_RAW_STARTS) or head[4:12] == b"ftypcrx "


def suffix_of(name: str) -> str:
    """The suffix of a name or path in lower case ('.jpg'), or empty; called ten times a picture."""
    suffix = posixpath.splitext(name)[1].lower()
    return "" if suffix == "." else suffix


def without_rendered(names: Iterable[str]) -> Iterator[str]:
    """The names of one folder, without RAW files that have a rendered picture beside them."""
    names = list(names)
    rendered = {
        name[: -len(suffix_of(name))].lower() for name in names if suffix_of(name) in SUFFIXES
    }
    for name in names:
        suffix = suffix_of(name)
        if suffix not in RAW_SUFFIXES or name[: -len(suffix)].lower() not in rendered:
            yield name
