"""What could not be ingested: a table in the library's folder, one row for each path.

    <data dir>/libraries/<library>/rejects.sqlite

A permanent reject (damaged, not a picture) is tried again only when its file changes; a transient
one (unreadable, a lost connection) is tried again by every run. A row is deleted when its picture
is written. Several processes may write at once.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scenesearch.errors import SceneSearchError
from scenesearch.home.database import Table, now

FILE_NAME = "rejects.sqlite"

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

# Of `library rejects`, as JSON and as CSV.
COLUMNS = (
    *("path", "image_id", "reason", "kind", "first_try", "last_try", "tries"),
    *("size_bytes", "modified"),
)


class RejectsError(SceneSearchError):
    """The table cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Reject:
    """A picture, or a row or folder of a source (no `image_id`), that was left out, and why.

    `size_bytes` and `modified` are those of the file at the last try. `described` is what a
    manifest says about the picture, so that it can be tried again without the manifest. Times are
    RFC 3339, in UTC; `tries` is 0 until the reject is in the table.
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
        """Whether a file with this size and time need not be tried again."""
        return not self.transient and (self.size_bytes, self.modified) == (size_bytes, modified)

    def to_json(self) -> dict[str, Any]:
        """The row as printed by `library rejects --json`."""
        return {name: getattr(self, name) for name in COLUMNS}


class Rejects(Table[Reject]):
    """The table, made when missing. Threads may share it, one at a time."""

    NAME = WHAT = "rejects"
    SCHEMA = _SCHEMA
    ORDER = "path"
    ERROR = RejectsError
    SYNCED = False  # a row that is lost when the power fails is tried again

    def add(self, rejects: Iterable[Reject]) -> None:
        """Write each as tried once more, now."""
        time = now()
        rows = [
            (
                *(reject.path, reject.image_id, reject.reason, reject.kind, time, time),
                *(reject.size_bytes, reject.modified, json.dumps(reject.described)),
            )
            for reject in rejects
        ]
        if rows:
            self.write(_WRITE, rows)

    def of(self, paths: Sequence[str]) -> dict[str, Reject]:
        """The rejects with these paths, by path."""
        rows = self.select_among("SELECT * FROM rejects WHERE path IN ({})", paths)
        with self._errors():
            return {row[0]: self._read_row(*row) for row in rows}

    def alike(self) -> list[Reject]:
        """Pictures whose files have the size and time of another row's, as a moved file has."""
        return self._rows(
            "image_id IS NOT NULL AND (size_bytes, modified) IN (SELECT size_bytes, modified "
            "FROM rejects GROUP BY size_bytes, modified HAVING count(*) > 1)"
        )

    def forget(self, paths: Iterable[str]) -> None:
        """Take these out: their pictures are written, or gone for good."""
        rows = [(path,) for path in paths]
        if rows:
            self.write("DELETE FROM rejects WHERE path = ?", rows)

    def relocate(self, moved: Callable[[str], str | None]) -> None:
        """Give paths their new place, where `moved` knows one; a row that is there is left."""
        rows = [(new, reject.path) for reject in self.all() if (new := moved(reject.path))]
        if rows:
            self.write("UPDATE OR IGNORE rejects SET path = ? WHERE path = ?", rows)
            self.forget(old for _, old in rows)

    def forget_sources(self, begins: Sequence[str], *, but: Iterable[str]) -> None:
        """Take out the rows and folders of sources whose path begins like this, except `but`:
        the others were mended."""
        kept = set(but)
        paths = [reject.path for reject in self._rows("image_id IS NULL")]
        self.forget(p for p in paths if p.startswith(tuple(begins)) and p not in kept)

    @staticmethod
    def _read_row(*columns: Any) -> Reject:
        path, image_id, reason, kind, first, last, tries, size_bytes, modified, said = columns
        transient = kind == "transient"
        return Reject(
            path, reason, transient, image_id, size_bytes, modified, _described(said), first, last,
            tries,
        )  # fmt: skip


def _described(text: Any) -> dict[str, Any]:
    """What a manifest says; empty where the table holds something else."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
