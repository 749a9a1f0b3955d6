"""Changes of tags by hand: what each did, so that it can go on after a kill, and be undone.

    <data dir>/libraries/<library>/tag-changes.sqlite

A change names all its pictures before the first is changed. Of each picture it notes what the tags
were, and of each side file what was in it, before they are written.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scenesearch.errors import SceneSearchError
from scenesearch.home.database import Database, now

FILE_NAME = "tag-changes.sqlite"

# So many changes can be undone, one after the other.
KEPT = 50

_SCHEMA = """
CREATE TABLE IF NOT EXISTS changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, made TEXT NOT NULL, what TEXT NOT NULL,
    added TEXT NOT NULL, removed TEXT NOT NULL, in_files INTEGER NOT NULL, state TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS pictures (
    number INTEGER NOT NULL, image_id TEXT NOT NULL, before TEXT, done INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (number, image_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pictures_to_do ON pictures (number, done, image_id);
CREATE TABLE IF NOT EXISTS side_files (
    number INTEGER NOT NULL, path TEXT NOT NULL, before BLOB, sha256 TEXT NOT NULL,
    PRIMARY KEY (number, path)
) WITHOUT ROWID
"""

BEGUN, DONE, UNDOING = "begun", "done", "undoing"


class TagChangeError(SceneSearchError):
    """The changes cannot be read or written; the message is one sentence for the user."""


@dataclass(frozen=True)
class TagChange:
    """Tags that are added to and removed from pictures, and with `in_files` also in their side
    files. `what` says which pictures: the request that found them."""

    what: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    in_files: bool = False

    @property
    def tags(self) -> Mapping[str, str]:
        """The state that each tag gets."""
        return dict.fromkeys(self.added, "added") | dict.fromkeys(self.removed, "removed")

    def __str__(self) -> str:
        signs = [*(f"+{tag}" for tag in self.added), *(f"-{tag}" for tag in self.removed)]
        return f"{', '.join(signs)} for {self.what}"


@dataclass(frozen=True)
class KeptChange:
    """A change as it was noted; `pictures` are those it is about, `done` those it has changed."""

    number: int
    made: str
    change: TagChange
    state: str
    pictures: int
    done: int


@dataclass(frozen=True)
class SideFile:
    """A side file that a change wrote: what was in it, None where there was no file, and the hash
    of what was written."""

    path: Path
    before: bytes | None
    sha256: str

    @classmethod
    def written(cls, path: Path, before: bytes | None, after: bytes) -> "SideFile":
        return cls(path, before, hashlib.sha256(after).hexdigest())


class TagChanges(Database):
    """The tables, made when missing."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, _SCHEMA, what="changes of tags", error=TagChangeError)

    def begin(self, change: TagChange, image_ids: Iterable[str]) -> KeptChange:
        """Note a change of these pictures."""
        with self.transaction() as connection:
            values = (now(), change.what, *_texts(change), int(change.in_files), BEGUN)
            number = connection.execute(
                "INSERT INTO changes (made, what, added, removed, in_files, state) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid
            connection.executemany(
                "INSERT OR IGNORE INTO pictures (number, image_id) VALUES (?, ?)",
                ((number, image_id) for image_id in image_ids),
            )
            for table in ("changes", "pictures", "side_files"):
                connection.execute(
                    f"DELETE FROM {table} WHERE number NOT IN "  # noqa: S608
                    f"(SELECT number FROM changes ORDER BY number DESC LIMIT {KEPT})"
                )
        return self.all(most=1)[0]

    def last(self) -> KeptChange | None:
        """The last change that is not undone."""
        return next(iter(self.all(most=1)), None)

    def all(self, *, most: int = KEPT) -> list[KeptChange]:
        """The changes that are not undone, the last one first."""
        rows = self.select(
            "SELECT number, made, what, added, removed, in_files, state, "
            "(SELECT count(*) FROM pictures WHERE pictures.number = changes.number), "
            "(SELECT count(*) FROM pictures WHERE pictures.number = changes.number AND done) "
            "FROM changes ORDER BY number DESC LIMIT ?",
            (most,),
        )
        return [
            KeptChange(
                number,
                made,
                TagChange(what, tuple(json.loads(added)), tuple(json.loads(removed)), bool(files)),
                state,
                pictures,
                done,
            )
            for number, made, what, added, removed, files, state, pictures, done in rows
        ]

    def to_do(self, number: int, most: int) -> list[str]:
        """Some of the change's pictures that are not changed yet."""
        rows = self.select(
            "SELECT image_id FROM pictures WHERE number = ? AND done = 0 ORDER BY image_id LIMIT ?",
            (number, most),
        )
        return [image_id for (image_id,) in rows]

    def note(
        self,
        number: int,
        before: Mapping[str, Mapping[str, str]],
        side_files: Iterable[SideFile] = (),
    ) -> None:
        """Note what is about to be changed: the state that each tag of a picture had, and side
        files. What was noted before a kill counts."""
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE pictures SET before = coalesce(before, ?) "
                "WHERE number = ? AND image_id = ?",
                [(json.dumps(tags), number, image_id) for image_id, tags in before.items()],
            )
            for one in side_files:
                before_it = None if one.before is None else zlib.compress(one.before)
                connection.execute(
                    "INSERT INTO side_files VALUES (?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET sha256 = excluded.sha256",
                    (number, str(one.path), before_it, one.sha256),
                )

    def have_changed(self, number: int, image_ids: Iterable[str]) -> None:
        """These pictures are done, or gone."""
        with self.transaction() as connection:
            connection.executemany(
                "UPDATE pictures SET done = 1 WHERE number = ? AND image_id = ?",
                [(number, image_id) for image_id in image_ids],
            )

    def set_state(self, number: int, state: str) -> None:
        with self.transaction() as connection:
            connection.execute("UPDATE changes SET state = ? WHERE number = ?", (state, number))

    def to_undo(self, number: int, most: int) -> dict[str, dict[str, str]]:
        """Some of the change's pictures, each with the state that its tags had before."""
        rows = self.select(
            "SELECT image_id, before FROM pictures WHERE number = ? AND before IS NOT NULL "
            "ORDER BY image_id LIMIT ?",
            (number, most),
        )
        return {image_id: json.loads(before) for image_id, before in rows}

    def have_been_undone(self, number: int, image_ids: Iterable[str]) -> None:
        with self.transaction() as connection:
            connection.executemany(
                "DELETE FROM pictures WHERE number = ? AND image_id = ?",
                [(number, image_id) for image_id in image_ids],
            )

    def side_files(self, number: int, most: int) -> list[SideFile]:
        """Some of the side files that the change wrote."""
        rows = self.select(
            "SELECT path, before, sha256 FROM side_files WHERE number = ? ORDER BY path LIMIT ?",
            (number, most),
        )
        return [
            SideFile(Path(path), None if before is None else zlib.decompress(before), sha256)
            for path, before, sha256 in rows
        ]

    def side_file_is_back(self, number: int, path: Path) -> None:
        with self.transaction() as connection:
            connection.execute(
                "DELETE FROM side_files WHERE number = ? AND path = ?", (number, str(path))
            )

    def forget(self, number: int) -> None:
        """The change is undone."""
        with self.transaction() as connection:
            for table in ("changes", "pictures", "side_files"):
                connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))  # noqa: S608

    def rename(self, renames: Mapping[str, str], *, once: int) -> None:
        """Give pictures their new names, old id -> new id, all at once. The call is ignored when
        the last one had the same `once`."""
        with self.transaction() as connection:
            (done,) = connection.execute("PRAGMA user_version").fetchone()
            if done == once:
                return
            for olds in _parts(list(renames)):
                rows = connection.execute(
                    f"SELECT * FROM pictures WHERE image_id IN ({', '.join('?' * len(olds))})",  # noqa: S608
                    olds,
                ).fetchall()
                connection.executemany(
                    "DELETE FROM pictures WHERE number = ? AND image_id = ?",
                    [row[:2] for row in rows],
                )
                # Aside, so that pictures may exchange names.
                connection.executemany(
                    "INSERT OR IGNORE INTO pictures VALUES (?, ?, ?, ?)",
                    [(-number, renames[image_id], *rest) for number, image_id, *rest in rows],
                )
            connection.execute("UPDATE OR IGNORE pictures SET number = -number WHERE number < 0")
            connection.execute("DELETE FROM pictures WHERE number < 0")
            connection.execute(f"PRAGMA user_version = {once:d}")


def _texts(change: TagChange) -> tuple[str, str]:
    return json.dumps(list(change.added)), json.dumps(list(change.removed))


def _parts(values: Sequence[str], most: int = 500) -> Iterable[Sequence[str]]:
    return (values[start : start + most] for start in range(0, len(values), most))
