"""Pictures of a library, written out: a table that a spreadsheet opens, a ZIP of the originals."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from scenesearch.errors import SceneSearchError
from scenesearch.home.titles import title_of
from scenesearch.pictures.file_names import unique_name

COLUMNS = ("image_id", "path", "title", "taken", "camera", "width", "height")


def write_table(
    out: IO[bytes],
    pictures: Iterable[tuple[str, Mapping[str, Any]]],
    columns: Sequence[str] = COLUMNS,
) -> int:
    """Write a CSV of the pictures (id, payload), which a spreadsheet opens as text: no cell from a
    library becomes a formula. Returns how many there are."""
    out.write("\N{ZERO WIDTH NO-BREAK SPACE}".encode())
    text = io.TextIOWrapper(out, encoding="utf-8", errors="replace", newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    count = 0
    for image_id, payload in pictures:
        row = {**payload, "image_id": image_id, "title": title_of(image_id, payload)}
        writer.writerow([_escape_formula(str(row.get(column, ""))) for column in columns])
        count += 1
    text.flush()
    text.detach()
    return count


def _escape_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


@dataclass(frozen=True)
class ZipEntry:
    """A picture for a ZIP: its name there, what it is called if it is left out, and its bytes.
    `explain` makes the reason of an error."""

    name: str
    shown: str
    read: Callable[[], bytes]
    explain: Callable[[Exception], str] = str


def write_zip(
    out: IO[bytes], entries: Iterable[ZipEntry], *, most_bytes: int | None = None
) -> tuple[int, list[str]]:
    """Write the pictures under their names, numbered where two have the same; `left out.txt` gives
    the reason for each that is missing. Returns how many are in it, and those lines."""
    names: set[str] = set()
    left_out: list[str] = []
    size = 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for one in entries:
            try:
                data = one.read()
            except SceneSearchError as error:
                left_out.append(f"{one.shown}: {one.explain(error)}")
                continue
            if most_bytes is not None and size + len(data) > most_bytes:
                left_out.append(f"{one.shown}: the ZIP holds at most {most_bytes >> 20} MiB")
                continue
            size += len(data)
            archive.writestr(unique_name(one.name, names), data)
        if left_out:
            archive.writestr("left out.txt", "\n".join(left_out).encode("utf-8", "replace"))
    return len(names), left_out
