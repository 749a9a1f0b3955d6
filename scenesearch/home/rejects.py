"""What could not be ingested: a table in the library's folder, one row for each path.

    <data dir>/libraries/<library>/rejects.sqlite

A permanent reject (damaged, not a picture) is not tried again until its file changes; a transient
one (unreadable, a lost connection) is tried by every run. A row goes when its picture is written.
Several processes may write at once.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scenesearch.errors import SceneSearchError
from scenesearch.home.database import Database

FILE_NAME = "rejects.sqlite"

# Fewer than SQLite's limit of parameters in one statement.
_PARAMETERS = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rejects (
    path TEXT PRIMARY KEY,
    image_id TEXT,
    reason TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('permanent', 'transient')),
    first_try TEXT NOT NULL,
    last_try TEXT NOT NULL,
    tries INTEGER NOT NULL,
    size_bytes INTEGER,
    modified TEXT,
    described TEXT NOT NULL
) WITHOUT ROWID
"""

_WRITE = """
INSERT INTO rejects (path, image_id, reason, kind, first_try, last_try, tries,
                     size_bytes, modified, described)
VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    image_id = excluded.image_id, reason = excluded.reason, kind = excluded.kind,
    last_try = excluded.last_try, tries = tries + 1, size_bytes = excluded.size_bytes,
    modified = excluded.modified, described = excluded.described
"""

_COLUMNS = (
    "path, image_id, reason, kind, first_try, last_try, tries, size_bytes, modified, described"
)


class RejectsError(SceneSearchError):
    """The table cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Reject:
    """A picture, or a row or folder of a source (no `image_id`), left out with its reason.

    `size_bytes` and `modified` are the file's at the last try; `described` what a manifest said of
    the picture, so that it can be tried again without the manifest. Times are RFC 3339, in UTC;
    `tries` is 0 until the reject is in the table.
    """

    path: str
    reason: str
    transient: bool = False
    image_id: str | None = None
    size_bytes: int | None = None
    modified: str | None = None
    described: Mapping[str, Any] = field(default_factory=dict)
    first_try: str = ""
    last_try: str = ""
    tries: int = 0

    @property
    def kind(self) -> str:
        return "transient" if self.transient else "permanent"

    def holds_for(self, size_bytes: int, modified: str) -> bool:
        """Whether a file of this size and time need not be tried again."""
        return not self.transient and (self.size_bytes, self.modified) == (size_bytes, modified)

    def to_json(self) -> dict[str, Any]:
        """The row as `library rejects --json` prints it."""
        return {
            "path": self.path,
            "image_id": self.image_id,
            "reason": self.reason,
            "kind": self.kind,
            "first_try": self.first_try,
            "last_try": self.last_try,
            "tries": self.tries,
            "size_bytes": self.size_bytes,
            "modified": self.modified,
        }


class Rejects:
    """The table, made when missing; usable from several threads one after the other."""

    def __init__(self, file: Path) -> None:
        # A row that is lost with the power is tried again.
        self._table = Database(file, _SCHEMA, what="rejects", error=RejectsError, synced=False)

    def add(self, rejects: Iterable[Reject]) -> None:
        """Write each as tried once more, now."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        rows = [
            (
                reject.path,
                reject.image_id,
                reject.reason,
                reject.kind,
                now,
                now,
                reject.size_bytes,
                reject.modified,
                json.dumps(reject.described),
            )
            for reject in rejects
        ]
        if rows:
            self._table.write(_WRITE, rows)

    def of(self, paths: Sequence[str]) -> dict[str, Reject]:
        """Those of these paths that are in the table."""
        found: dict[str, Reject] = {}
        for start in range(0, len(paths), _PARAMETERS):
            part = paths[start : start + _PARAMETERS]
            marks = ", ".join("?" * len(part))
            found |= {r.path: r for r in self._select(f"WHERE path IN ({marks})", part)}
        return found

    def all(self, *, kind: str | None = None) -> Iterator[Reject]:
        """Every row by path; with `kind` ('permanent', 'transient'), those alone."""
        if kind is None:
            return self._select("ORDER BY path")
        return self._select("WHERE kind = ? ORDER BY path", (kind,))

    def alike(self) -> list[Reject]:
        """Pictures whose files have size and time of another row's: a file that was moved has."""
        return list(
            self._select(
                "WHERE image_id IS NOT NULL AND (size_bytes, modified) IN (SELECT size_bytes, "
                "modified FROM rejects GROUP BY size_bytes, modified HAVING count(*) > 1)"
            )
        )

    def count(self) -> int:
        ((number,),) = self._table.select("SELECT count(*) FROM rejects")
        return int(number)

    def forget(self, paths: Iterable[str]) -> None:
        """Take these out: their pictures are written, or gone for good."""
        rows = [(path,) for path in paths]
        if rows:
            self._table.write("DELETE FROM rejects WHERE path = ?", rows)

    def forget_sources(self, begins: Sequence[str], *, but: Iterable[str]) -> None:
        """Take out rows and folders whose path begins so, `but` those: they were mended."""
        kept = set(but)
        self.forget(
            [
                reject.path
                for reject in self._select("WHERE image_id IS NULL")
                if reject.path.startswith(tuple(begins)) and reject.path not in kept
            ]
        )

    def close(self) -> None:
        self._table.close()

    def __enter__(self) -> "Rejects":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _select(self, clause: str, values: Sequence[Any] = ()) -> Iterator[Reject]:
        rows = self._table.select(f"SELECT {_COLUMNS} FROM rejects {clause}", values)  # noqa: S608
        with self._table.faults():
            yield from map(_reject, rows)


def read_rejects(file: Path) -> list[Reject]:
    """All rows by path; none where no run has left a table."""
    if not file.exists():
        return []
    table = Rejects(file)
    try:
        return list(table.all())
    finally:
        table.close()


def _described(text: Any) -> dict[str, Any]:
    """What a manifest said; nothing where the table holds something else."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _reject(row: Sequence[Any]) -> Reject:
    path, image_id, reason, kind, first_try, last_try, tries, size_bytes, modified, described = row
    return Reject(
        path=path,
        reason=reason,
        transient=kind == "transient",
        image_id=image_id,
        size_bytes=size_bytes,
        modified=modified,
        described=_described(described),
        first_try=first_try,
        last_try=last_try,
        tries=tries,
    )
