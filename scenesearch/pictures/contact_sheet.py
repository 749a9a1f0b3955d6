"""A contact sheet: the pictures of an answer on one page, with the query."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import Original
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.runtime.files import atomic_writer

_CELL = 320
_LINE = 18
_MARGIN = 16
_INK, _FAINT, _PAPER = (32, 32, 36), (110, 110, 118), (252, 252, 250)


@dataclass(frozen=True)
class SheetEntry:
    """A picture with its title and what else stands below it, a line each; its thumbnail stands in
    for an original that cannot be opened."""

    original: Path | Original
    title: str
    notes: Sequence[str] = ()
    thumbnails_dir: Path | None = None
    sha256: str = ""


def notes_of(payload: Mapping[str, Any]) -> list[str]:
    """What stands below a picture of this payload: its first caption, and the text in it."""
    captions, text = payload.get("captions") or (), payload.get("text")
    return [*map(str, captions[:1]), *([f"“{text}”"] if text else [])]


def write_contact_sheet(
    file: Path, heading: str, entries: Sequence[SheetEntry], *, columns: int = 5
) -> None:
    """Save the sheet as JPEG or PNG, by the file's suffix.

    Raises ImageError for another suffix, and when the file cannot be written.
    """
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
    if file.suffix.lower() not in formats:
        raise ImageError(f"a contact sheet is written as .jpg or .png, not {file.name}")
    sheet = contact_sheet(heading, entries, columns=columns)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(file) as out:
            sheet.save(out, formats[file.suffix.lower()], quality=88)
    except OSError as error:
        raise ImageError(f"cannot write {file}: {error.strerror or error}") from None


def contact_sheet(heading: str, entries: Sequence[SheetEntry], *, columns: int = 5) -> Image.Image:
    """The sheet as a picture; a missing picture is a grey cell."""
    columns = max(1, min(columns, len(entries)))
    rows = math.ceil(len(entries) / columns)
    width = _MARGIN + columns * (_CELL + _MARGIN)
    box = (_CELL, _CELL * 3 // 4)
    lines = 1 + max((len(entry.notes) for entry in entries), default=0)
    height = box[1] + 8 + lines * _LINE + _MARGIN
    sheet = Image.new("RGB", (width, 64 + rows * height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(24), ImageFont.load_default(14)
    draw.text((_MARGIN, 20), _fitting(draw, heading, large, width - 2 * _MARGIN), _INK, large)
    for position, entry in enumerate(entries):
        left = _MARGIN + (position % columns) * (_CELL + _MARGIN)
        top = 64 + (position // columns) * height
        try:
            picture = ImageOps.contain(_opened(entry), box)
        except ImageError:
            picture = Image.new("RGB", box, (225, 225, 225))
        sheet.paste(picture, (left + (box[0] - picture.width) // 2, top + box[1] - picture.height))
        for number, text in enumerate((entry.title, *entry.notes)):
            line = _fitting(draw, text, small, _CELL)
            place = (left, top + box[1] + 6 + number * _LINE)
            draw.text(place, line, _FAINT if number else _INK, small)
    return sheet


def _opened(entry: SheetEntry) -> Image.Image:
    try:
        return open_image(entry.original, reduce_to=2 * _CELL).image
    except ImageError:
        if entry.thumbnails_dir is None:
            raise
        return open_image(thumbnail_path(entry.thumbnails_dir, entry.sha256)).image


def _fitting(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    """One line that fits the width, shortened with an ellipsis."""
    line = " ".join(text.split())
    if draw.textlength(line, font) <= width:
        return line
    while line and draw.textlength(line + "…", font) > width:
        line = line[:-1]
    return line.rstrip() + "…"
