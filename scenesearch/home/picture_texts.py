"""The texts that were read from pictures: a table in the library's folder, one row a content.

    <data dir>/libraries/<library>/texts.sqlite

Reading takes a second or so, and a picture that is renamed, copied or ingested into a new
collection has the same content: its text is taken from here. A row is deleted with the last
picture of its content.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from scenesearch.errors import SceneSearchError
from scenesearch.home.database import Database
from scenesearch.store.values import checks_of, misfit

FILE_NAME = "texts.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS texts (
    sha256 TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    payload TEXT NOT NULL
) WITHOUT ROWID
"""


class PictureTextsError(SceneSearchError):
    """The table cannot be used; the message is one sentence for the user."""


class PictureTexts:
    """The table, made when missing; rows of another version than the `version` asked for are as if
    they were not there."""

    def __init__(self, file: Path) -> None:
        # A row costs no sync: what is lost with the power is read again.
        self._table = Database(
            file, _SCHEMA, what="texts of pictures", error=PictureTextsError, synced=False
        )

    def of(self, hashes: Iterable[str], version: int) -> dict[str, dict[str, Any]]:
        """What is written in pictures of these contents, as keys of their payloads."""
        query = "SELECT sha256, version, payload FROM texts WHERE sha256 IN ({})"
        checks = checks_of(())
        found = {}
        for sha256, of_version, text in self._table.select_among(query, sorted(set(hashes))):
            if of_version == version:
                payload = json.loads(text)
                if misfit(payload, checks) is None:
                    found[sha256] = payload
        return found

    def add(self, sha256: str, version: int, payload: Mapping[str, Any]) -> None:
        self._table.write(
            "INSERT OR REPLACE INTO texts VALUES (?, ?, ?)",
            [(sha256, version, json.dumps(dict(payload)))],
        )

    def forget(self, hashes: Iterable[str]) -> None:
        self._table.write("DELETE FROM texts WHERE sha256 = ?", [(one,) for one in hashes])

    def close(self) -> None:
        self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
