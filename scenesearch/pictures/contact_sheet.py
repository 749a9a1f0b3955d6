"""A contact sheet: the pictures of an answer on one page, with the query."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import Original
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.runtime.files import atomic_writer

_CELL = 320
_LABEL = 44
_MARGIN = 16
_INK, _FAINT, _PAPER = (32, 32, 36), (110, 110, 118), (252, 252, 250)


@dataclass(frozen=True)
class SheetEntry:
    """A picture and the two lines below it; its thumbnail stands in for an original that cannot be
    opened."""

    original: Path | Original
    title: str
    note: str
    thumbnails_dir: Path | None = None
    sha256: str = ""


def write_contact_sheet(
    file: Path, heading: str, entries: Sequence[SheetEntry], *, columns: int = 5
) -> None:
    """Save the sheet as JPEG or PNG, by the file's suffix; a missing picture is a grey cell.

    Raises ImageError for another suffix, and when the file cannot be written.
    """
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
    if file.suffix.lower() not in formats:
        raise ImageError(f"a contact sheet is written as .jpg or .png, not {file.name}")
    columns = max(1, min(columns, len(entries)))
    rows = math.ceil(len(entries) / columns)
    width = _MARGIN + columns * (_CELL + _MARGIN)
    sheet = Image.new("RGB", (width, 64 + rows * (_CELL * 3 // 4 + _LABEL + _MARGIN)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(24), ImageFont.load_default(14)
    draw.text((_MARGIN, 20), _fitting(draw, heading, large, width - 2 * _MARGIN), _INK, large)
    box = (_CELL, _CELL * 3 // 4)
    for position, entry in enumerate(entries):
        left = _MARGIN + (position % columns) * (_CELL + _MARGIN)
        top = 64 + (position // columns) * (box[1] + _LABEL + _MARGIN)
        try:
            picture = ImageOps.contain(_opened(entry), box)
        except ImageError:
            picture = Image.new("RGB", box, (225, 225, 225))
        sheet.paste(picture, (left + (box[0] - picture.width) // 2, top + box[1] - picture.height))
        title = _fitting(draw, entry.title, small, _CELL)
        draw.text((left, top + box[1] + 6), title, _INK, small)
        note = _fitting(draw, entry.note, small, _CELL)
        draw.text((left, top + box[1] + 24), note, _FAINT, small)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(file) as out:
            sheet.save(out, formats[file.suffix.lower()], quality=88)
    except OSError as error:
        raise ImageError(f"cannot write {file}: {error.strerror or error}") from None


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
