"""Hits that users marked as right or wrong, for the text of a request and a picture.

    <data dir>/libraries/<library>/feedback.sqlite

The last mark of a pair counts. Requests can rank by marks (`Request.right`, `Request.wrong`), and
`export` writes them as judgments in the task's format, one vote each, for `scenesearch train`.
Several processes may write at once.
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from scenesearch.datasets.task import CROWD, MARKED, TRAIN_FOLDER, TRAIN_PAIRS
from scenesearch.errors import SceneSearchError
from scenesearch.home.database import Table, now
from scenesearch.pictures.formats import SUFFIXES
from scenesearch.pictures.originals import Original, OriginalError

FILE_NAME = "feedback.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS marks (
    text TEXT NOT NULL,
    image_id TEXT NOT NULL,
    is_right INTEGER NOT NULL CHECK (is_right IN (0, 1)),
    marked TEXT NOT NULL,
    PRIMARY KEY (text, image_id)
) WITHOUT ROWID
"""


class FeedbackError(SceneSearchError):
    """Feedback cannot be saved or used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Mark:
    """The last mark of a picture for a text; `marked` is the time, RFC 3339."""

    text: str
    image_id: str
    right: bool
    marked: str

    def to_json(self) -> dict[str, str]:
        return {
            "text": self.text,
            "image_id": self.image_id,
            "mark": "right" if self.right else "wrong",
            "marked": self.marked,
        }


@dataclass(frozen=True)
class Exported:
    """What `export` wrote, and what it left out with the reasons: texts that cannot be trained on,
    and pictures that cannot be read."""

    pairs: int
    pictures: int
    texts: int
    texts_left_out: Mapping[str, str]
    pictures_left_out: Mapping[str, str]


class Feedback(Table[Mark]):
    """The table, made when missing. Threads may share it, one at a time."""

    NAME = "marks"
    SCHEMA = _SCHEMA
    ORDER = "text, image_id"
    WHAT = "feedback"
    ERROR = FeedbackError

    def mark(self, text: str, image_ids: Iterable[str], *, right: bool) -> int:
        """Write that these pictures are right, or wrong, for the text; returns how many."""
        text, time = _checked(text), now()
        rows = [(text, image_id, int(right), time) for image_id in image_ids]
        return self.write("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", rows)

    def take_over(self, marks: Iterable[Mark]) -> int:
        """Add marks of elsewhere whose text and picture have none here; returns how many."""
        return self.write("INSERT OR IGNORE INTO marks VALUES (?, ?, ?, ?)", _rows(marks))

    def lacking(self, marks: Iterable[Mark]) -> list[Mark]:
        """Those of these marks whose text and picture have none here."""
        there = {(mark.text, mark.image_id) for mark in self.all()}
        return [mark for mark in marks if (_checked(mark.text), mark.image_id) not in there]

    def take_back(self, marks: Iterable[Mark]) -> None:
        """Forget these marks where they still are as they were taken over."""
        self.write(
            "DELETE FROM marks WHERE text = ? AND image_id = ? AND is_right = ? AND marked = ?",
            _rows(marks),
        )

    def forget(self, text: str, image_ids: Iterable[str] | None = None) -> int:
        """Take back the text's marks of these pictures, by default of all; returns how many."""
        text = _checked(text)
        if image_ids is None:
            return self.write("DELETE FROM marks WHERE text = ?", [(text,)])
        rows = [(text, image_id) for image_id in image_ids]
        return self.write("DELETE FROM marks WHERE text = ? AND image_id = ?", rows)

    def rename(
        self, renames: Mapping[str, str], text_of: Callable[[str], str], *, once: int
    ) -> None:
        """Give marks their pictures' new names, old id -> new id, and the texts of `text_of`.

        All at once, so that pictures may exchange names. Of two marks that become one, the later
        counts. The call is ignored when the last one had the same `once`.
        """
        with self.transaction() as connection:
            (done,) = connection.execute("PRAGMA user_version").fetchone()
            if done == once:
                return
            rows = connection.execute("SELECT * FROM marks").fetchall()
            after = {row: (text_of(row[0]), renames.get(row[1], row[1]), *row[2:]) for row in rows}
            moved = {row: new for row, new in after.items() if row != new}
            connection.executemany(
                "DELETE FROM marks WHERE text = ? AND image_id = ?", [row[:2] for row in moved]
            )
            connection.executemany(
                "INSERT INTO marks VALUES (?, ?, ?, ?) ON CONFLICT (text, image_id) DO UPDATE "
                "SET is_right = excluded.is_right, marked = excluded.marked "
                "WHERE excluded.marked > marked",
                list(moved.values()),
            )
            connection.execute(f"PRAGMA user_version = {once:d}")

    def of(self, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The image ids marked right, and those marked wrong, for the text; each sorted."""
        marks = self._rows("text = ?", (_checked(text),))
        right = tuple(mark.image_id for mark in marks if mark.right)
        return right, tuple(mark.image_id for mark in marks if not mark.right)

    @staticmethod
    def _read_row(*columns: Any) -> Mark:
        text, image_id, is_right, marked = columns
        return Mark(text, image_id, bool(is_right), marked)


def _rows(marks: Iterable[Mark]) -> list[tuple[str, str, int, str]]:
    return [(_checked(m.text), m.image_id, int(m.right), m.marked) for m in marks]


def _checked(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise FeedbackError("feedback belongs to a text, and this one is empty")
    return text


def export(
    marks: Iterable[Mark],
    originals: Mapping[str, Original],
    folder: Path,
    scene_of: Callable[[str], str | None],
) -> Exported:
    """Write the marks in the task's format, to a folder that must be new or empty. It appears only
    when it is complete.

    `originals` are by image id; pictures that are no longer in the library are left out. `scene_of`
    gives the scene that a text describes (`scenesearch.search.grammar.scene_of`), or None. The
    scene becomes a caption of every picture marked right. A text needs at least one of them, since
    the id of a query names the picture that it belongs to.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FeedbackError(f"{folder} is not empty: export into a new folder")
    folder = folder.absolute()
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of an export that was killed
    try:
        exported = _export(marks, originals, unfinished, scene_of)
        if folder.exists():
            folder.rmdir()  # Windows replaces no folder, not even an empty one
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return exported


def _export(
    marks: Iterable[Mark],
    originals: Mapping[str, Original],
    folder: Path,
    scene_of: Callable[[str], str | None],
) -> Exported:
    texts_left_out: dict[str, str] = {}
    by_scene: dict[str, dict[str, Mark]] = {}  # scene -> image id -> the last word on the two
    for mark in sorted(marks, key=lambda mark: mark.marked):
        scene = scene_of(mark.text)
        if scene is None:
            texts_left_out[mark.text] = (
                "it is not one scene in words, which is all that can be trained on"
            )
        else:
            by_scene.setdefault(scene, {})[mark.image_id] = mark
    names: dict[str, str] = {}
    gone: dict[str, str] = {}
    pictures = folder / TRAIN_FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    for image_id in sorted({image_id for said in by_scene.values() for image_id in said}):
        name = f"{len(names):06}{_suffix(image_id)}"
        try:
            if image_id not in originals:
                raise OriginalError("no longer in the library")
            (pictures / name).write_bytes(originals[image_id].read())
        except OriginalError as error:
            gone[image_id] = str(error)
        else:
            names[image_id] = name
    numbers: dict[str, int] = {}
    rows: list[tuple[str, str, str, bool]] = []
    for scene, said in sorted(by_scene.items()):
        judged = {names[i]: mark.right for i, mark in sorted(said.items()) if i in names}
        own: dict[str, str] = {}
        for name in (name for name, right in judged.items() if right):
            numbers[name] = numbers.get(name, -1) + 1
            own[name] = f"{name}#{numbers[name]}"
        if not own:
            reason = "no picture of it is marked right"
            texts_left_out |= dict.fromkeys((mark.text for mark in said.values()), reason)
            continue
        first = next(iter(own.values()))
        rows += [(name, own.get(name, first), scene, right) for name, right in judged.items()]
    with (folder / TRAIN_PAIRS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "query_id", "query_text"))
        writer.writerows((image, query_id, text) for image, query_id, text, _ in rows)
    with (folder / CROWD).open("w", encoding="utf-8") as file:
        for image, query_id, _, right in rows:
            file.write(f"{image}\t{query_id}\t{int(right)}\t{int(right)}\t{int(not right)}\n")
    # A search chose these pairs. They teach what is right, but not how often it is.
    about = {"pairs": len(rows), "judged": "hits of searches, by those who searched"}
    (folder / MARKED).write_text(json.dumps(about) + "\n", encoding="utf-8")
    used = {image for image, _, _, _ in rows}
    for name in set(names.values()) - used:
        (pictures / name).unlink()
    texts = len({text for _, _, text, _ in rows})
    return Exported(len(rows), len(used), texts, texts_left_out, gone)


def _suffix(image_id: str) -> str:
    suffix = PurePosixPath(image_id).suffix.lower()
    return suffix if suffix in SUFFIXES else ".jpg"
