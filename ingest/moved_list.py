"""The list of pictures that were moved out of a library, from which they can be moved back.

    FOLDER/scenesearch-moved-20260801-120000.jsonl

The first line says of which library. Each further line is a picture: where it lay, where it is now
(relative to the list), its content, and its point in the library. A line is on the disk before its
picture is moved.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.errors import SceneSearchError

_FORMAT, _VERSION = "scenesearch-moved", 1
_MOST_LINE_BYTES = 8 * 2**20


class MovedListError(SceneSearchError):
    """The list cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Moved:
    """A file that was moved: from an absolute path to one relative to the list."""

    source: str
    target: str

    def to_json(self) -> dict[str, str]:
        return {"from": self.source, "to": self.target}


@dataclass(frozen=True)
class MovedPicture:
    """A picture with the files beside it, and its point in the library."""

    image_id: str
    file: Moved
    sha256: str
    side_files: tuple[Moved, ...]
    payload: Mapping[str, Any]
    vector: NDArray[np.float32] | None

    def to_json(self) -> dict[str, Any]:
        vector = None
        if self.vector is not None:
            vector = base64.b64encode(self.vector.astype("<f4").tobytes()).decode()
        return {
            "image_id": self.image_id,
            **self.file.to_json(),
            "sha256": self.sha256,
            "side_files": [one.to_json() for one in self.side_files],
            "payload": dict(self.payload),
            "vector": vector,
        }


class MovedList:
    """A list that is being written."""

    def __init__(self, folder: Path, *, library: str, fingerprint: str) -> None:
        moment = datetime.now(UTC)
        self.path = _free(folder, f"scenesearch-moved-{moment:%Y%m%d-%H%M%S}")
        self._file = self.path.open("x", encoding="utf-8")
        self._write(
            {
                "format": _FORMAT,
                "version": _VERSION,
                "library": library,
                "fingerprint": fingerprint,
                "made": moment.isoformat(timespec="seconds"),
            }
        )

    def add(self, picture: MovedPicture) -> None:
        """The line is on the disk when this returns."""
        self._write(picture.to_json())

    def close(self) -> None:
        self._file.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@dataclass(frozen=True)
class ReadList:
    """A list: its library, the fingerprint of the library's encoder, how many pictures it names."""

    path: Path
    library: str
    fingerprint: str
    count: int

    def pictures(self) -> Iterator[MovedPicture]:
        """The pictures, one after the other; raises MovedListError for a damaged line."""
        rows = _rows(self.path)
        next(rows)
        for row in rows:
            try:
                yield _picture(row)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise MovedListError(f"{self.path} is damaged or forged") from None

    def target(self, moved: Moved) -> Path:
        """Where the file is now."""
        return self.path.parent / moved.target


def read_list(path: Path) -> ReadList:
    """The list; raises MovedListError for a file that is none."""
    rows = _rows(path)
    head = next(rows, None)
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise MovedListError(f"{path} is no list of moved pictures")
    if head.get("version") != _VERSION:
        raise MovedListError(f"{path} was written by a later version of scenesearch")
    return ReadList(
        path, str(head.get("library")), str(head.get("fingerprint")), sum(1 for _ in rows)
    )


def _rows(path: Path) -> Iterator[Any]:
    """The lines as JSON. A last one that was cut short by a kill does not count."""
    try:
        with path.open("rb") as file:
            while line := file.readline(_MOST_LINE_BYTES):
                if not line.endswith(b"\n"):
                    return
                yield json.loads(line)
    except OSError as error:
        raise MovedListError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise MovedListError(f"{path} is no list of moved pictures: a line is no JSON") from None


def _picture(row: Mapping[str, Any]) -> MovedPicture:
    vector = row.get("vector")
    image_id, sha256, payload = row["image_id"], row["sha256"], row["payload"]
    if not isinstance(image_id, str) or not isinstance(sha256, str) or type(payload) is not dict:
        raise ValueError("no picture")
    return MovedPicture(
        image_id,
        _moved(row),
        sha256,
        tuple(_moved(one) for one in row["side_files"]),
        payload,
        None if vector is None else np.frombuffer(base64.b64decode(vector, validate=True), "<f4"),
    )


def _moved(row: Mapping[str, Any]) -> Moved:
    source, target = row["from"], row["to"]
    parts = PurePosixPath(target).parts
    if not os.path.isabs(source) or "\0" in source + target:  # noqa: PTH117
        raise ValueError("no absolute path")
    if not parts or parts[0] == "/" or ".." in parts:
        raise ValueError("a path that leads out of the list's folder")
    return Moved(source, target)


def _free(folder: Path, stem: str) -> Path:
    path, number = folder / f"{stem}.jsonl", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.jsonl"
    return path
