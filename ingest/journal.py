"""What a run still has to tidy up: pictures that came to another place, contents replaced.

    <data dir>/libraries/<library>/tidying.sqlite

It is written before the library is, and emptied at the end of the run. A run that was killed, or
stopped, leaves it to the next one.
"""

import json
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from ingest.shards import WHOLE, Shard
from scenesearch.errors import SceneSearchError
from scenesearch.home.database import Database
from scenesearch.store.base import Point

# Contents that are looked up together.
PART = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS arrived (
    image_id TEXT PRIMARY KEY, sha256 TEXT NOT NULL, described TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS arrived_by_content ON arrived (sha256);
CREATE TABLE IF NOT EXISTS displaced (
    image_id TEXT NOT NULL, sha256 TEXT NOT NULL, payload TEXT NOT NULL, vector BLOB NOT NULL,
    described TEXT NOT NULL, PRIMARY KEY (image_id, sha256)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS displaced_by_content ON displaced (sha256);
CREATE TABLE IF NOT EXISTS renamed (
    old TEXT PRIMARY KEY, new TEXT NOT NULL, payload TEXT NOT NULL, is_stale INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS renamed_by_new ON renamed (new);
CREATE TABLE IF NOT EXISTS loose (sha256 TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS step (number INTEGER NOT NULL, token INTEGER NOT NULL);
"""


class JournalError(SceneSearchError):
    """The journal cannot be used; the message is one sentence for the user."""


class Step(IntEnum):
    """How far the moves of a run are dealt with; each step is done whole or done again."""

    COLLECTING = 0
    PAIRED = 1
    DESCRIBED = 2
    FOLLOWED = 3


@dataclass(frozen=True)
class Displaced:
    """What a picture's point held before its file got other content, `described` by this run."""

    image_id: str
    payload: Mapping[str, Any]
    described: Mapping[str, Any]


@dataclass(frozen=True)
class Rename:
    """Of a picture its old place and what its point held there; a stale point is to go."""

    old: str
    new: str
    payload: Mapping[str, Any]
    is_stale: bool


def journal_file(library_dir: Path, shard: Shard = WHOLE) -> Path:
    """Where the journal of a library's ingest lies, or that of a worker's share."""
    part = "" if shard == WHOLE else f"-{shard.number}-of-{shard.of}"
    return library_dir / f"tidying{part}.sqlite"


class Journal:
    """The tables, made when missing; without a file they are this process's alone."""

    def __init__(self, file: Path | None = None) -> None:
        # A row costs no sync: it must outlive the process, not the power.
        self._table = Database(
            file, _SCHEMA, what="notes of what is to be tidied up", error=JournalError, synced=False
        )
        self._has_displaced = self._any("displaced")

    @property
    def step(self) -> Step:
        found = self._rows("SELECT number FROM step")
        return Step(found[0][0]) if found else Step.COLLECTING

    @property
    def token(self) -> int:
        """A number of this run's renames alone."""
        return int(self._rows("SELECT token FROM step")[0][0])

    def reached(self, step: Step) -> None:
        with self._table.transaction() as connection:
            if self._rows("SELECT number FROM step"):
                connection.execute("UPDATE step SET number = ?", (int(step),))
            else:
                token = 1 + secrets.randbelow(2**31 - 1)
                connection.execute("INSERT INTO step VALUES (?, ?)", (int(step), token))

    def note(
        self,
        arrived: Iterable[tuple[str, str, Mapping[str, Any]]],
        displaced: Iterable[tuple[Point, Mapping[str, Any]]],
    ) -> None:
        """Keep pictures (id, content, what is said of them) whose content the library knew, and
        points that are about to be replaced, with what is said of the pictures that replace them.
        """
        came = [(image_id, sha256, json.dumps(said)) for image_id, sha256, said in arrived]
        left = [
            (
                point.image_id,
                str(point.payload.get("sha256", "")),
                json.dumps(dict(point.payload)),
                np.asarray(point.vector, np.float32).tobytes(),
                json.dumps(said),
            )
            for point, said in displaced
        ]
        if came or left:
            with self._table.transaction() as connection:
                connection.executemany("INSERT OR REPLACE INTO arrived VALUES (?, ?, ?)", came)
                connection.executemany(
                    "INSERT OR REPLACE INTO displaced VALUES (?, ?, ?, ?, ?)", left
                )
            self._has_displaced = self._has_displaced or bool(left)

    def vectors(self, hashes: Iterable[str]) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        """Vectors of contents that were replaced, by content."""
        if not self._has_displaced:
            return {}
        rows = self._of("SELECT sha256, vector FROM displaced WHERE sha256 IN ({})", list(hashes))
        return {sha256: np.frombuffer(vector, np.float32) for sha256, vector in rows}

    def arrivals(self) -> Iterator[dict[str, list[str]]]:
        """Ids by content of the pictures that came, many contents at a time."""
        after = ""
        while True:
            contents = self._rows(
                "SELECT DISTINCT sha256 FROM arrived WHERE sha256 > ? ORDER BY sha256 LIMIT ?",
                (after, PART),
            )
            if not contents:
                return
            after = contents[-1][0]
            found: dict[str, list[str]] = defaultdict(list)
            for sha256, image_id in self._of(
                "SELECT sha256, image_id FROM arrived WHERE sha256 IN ({}) ORDER BY image_id",
                [sha256 for (sha256,) in contents],
            ):
                found[sha256].append(image_id)
            yield found

    def displaced(self, *, hashes: Sequence[str] = (), ids: Sequence[str] = ()) -> list[Displaced]:
        """Replaced points of these contents, or of these pictures."""
        select = "SELECT image_id, payload, described FROM displaced WHERE "
        rows = self._of(select + "sha256 IN ({})", hashes) + self._of(
            select + "image_id IN ({})", ids
        )
        return [Displaced(i, json.loads(payload), json.loads(said)) for i, payload, said in rows]

    def described(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What this run's sources say of those of these pictures that came or were replaced."""
        rows = self._of("SELECT image_id, described FROM displaced WHERE image_id IN ({})", ids)
        rows += self._of("SELECT image_id, described FROM arrived WHERE image_id IN ({})", ids)
        return {image_id: json.loads(said) for image_id, said in rows}

    def came(self, ids: Sequence[str]) -> set[str]:
        """Those of these pictures whose content the library knew before."""
        rows = self._of("SELECT image_id FROM arrived WHERE image_id IN ({})", ids)
        return {image_id for (image_id,) in rows}

    def rename(self, renames: Iterable[Rename]) -> None:
        rows = [(r.old, r.new, json.dumps(dict(r.payload)), int(r.is_stale)) for r in renames]
        with self._table.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO renamed VALUES (?, ?, ?, ?)", rows)

    def renames(self) -> Iterator[list[Rename]]:
        """Every rename, those to one new name together, many at a time."""
        after = ""
        while True:
            news = self._rows(
                "SELECT DISTINCT new FROM renamed WHERE new > ? ORDER BY new LIMIT ?", (after, PART)
            )
            if not news:
                return
            after = news[-1][0]
            rows = self._of("SELECT * FROM renamed WHERE new IN ({})", [new for (new,) in news])
            yield [
                Rename(old, new, json.loads(kept), bool(stale)) for old, new, kept, stale in rows
            ]

    def taken(self, ids: Sequence[str]) -> set[str]:
        """Those of these ids that are the new name of a picture."""
        return {new for (new,) in self._of("SELECT new FROM renamed WHERE new IN ({})", ids)}

    def left(self, ids: Sequence[str]) -> set[str]:
        """Those of these ids whose earlier picture has another name now."""
        return {old for (old,) in self._of("SELECT old FROM renamed WHERE old IN ({})", ids)}

    def loosen(self, hashes: Iterable[str]) -> None:
        """Keep contents whose thumbnails may be needed no longer."""
        with self._table.transaction() as connection:
            rows = [(sha256,) for sha256 in hashes]
            connection.executemany("INSERT OR IGNORE INTO loose VALUES (?)", rows)

    def loose(self, after: str = "") -> list[str]:
        """So many of those contents as are looked up together, in order."""
        rows = self._rows(
            "SELECT sha256 FROM loose WHERE sha256 > ? ORDER BY sha256 LIMIT ?", (after, PART)
        )
        return [sha256 for (sha256,) in rows]

    def tied(self, hashes: Sequence[str]) -> None:
        """Forget contents whose thumbnails have been looked after."""
        with self._table.transaction() as connection:
            connection.executemany("DELETE FROM loose WHERE sha256 = ?", [(h,) for h in hashes])

    def settled(self) -> None:
        """Forget the run's moves; contents that were replaced may have left a thumbnail."""
        with self._table.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO loose SELECT DISTINCT sha256 FROM displaced")
            for table in ("arrived", "displaced", "renamed", "step"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608
        self._has_displaced = False

    def close(self) -> None:
        self._table.close()

    def _any(self, table: str) -> bool:
        return bool(self._rows(f"SELECT 1 FROM {table} LIMIT 1"))  # noqa: S608

    def _of(self, select: str, values: Sequence[str]) -> list[Any]:
        """All rows of a selection among any number of values."""
        return list(self._table.select_among(select, values))

    def _rows(self, select: str, values: Sequence[Any] = ()) -> list[Any]:
        return list(self._table.select(select, values))
