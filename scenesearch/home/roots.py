"""The roots of a library: the folders and addresses that it was filled from.

    <data dir>/libraries/<library>/sources.json     {"/photos": "", "s3://bucket/trip": "trip/"}

They decide the image ids, and which originals may be opened (`scenesearch.home.allowed_originals`).
A root that came with a backup is written as {"prefix": "", "restored": true}: it decides image ids
too, but nothing below it is opened until it, or a folder in it, is ingested here.
"""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenesearch.errors import SceneSearchError, first_line
from scenesearch.pictures.originals import is_url
from scenesearch.runtime.files import atomic_writer, private_folder

SOURCES = "sources.json"

# Longer paths and addresses are in no file system and on no server.
MOST_CHARACTERS = 65_536
_MOST_ROOTS = 10_000


class RootsError(SceneSearchError):
    """A list of roots cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Root:
    """A folder or address that a library was filled from: the prefix of its image ids, and whether
    it is only known from a backup."""

    prefix: str
    restored: bool = False

    def to_json(self) -> str | dict[str, Any]:
        return {"prefix": self.prefix, "restored": True} if self.restored else self.prefix


def read_roots(file: Path) -> dict[str, Root]:
    """The roots in a library's `sources.json`, none if it is missing; raises RootsError."""
    try:
        return parse_roots(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise RootsError(f"{file} is damaged: {first_line(error)}") from None
    except OSError as error:
        raise RootsError(f"{file} cannot be read: {error.strerror or error}") from None


def parse_roots(document: Any) -> dict[str, Root]:
    """The roots in the parsed file; raises ValueError if it is malformed."""
    if not isinstance(document, dict):
        raise ValueError("expected a JSON object")
    if len(document) > _MOST_ROOTS:
        raise ValueError(f"it names more than {_MOST_ROOTS} folders")
    found: dict[str, Root] = {}
    for place, said in document.items():
        restored = isinstance(said, dict)
        prefix = said.get("prefix") if isinstance(said, dict) else said
        if not isinstance(prefix, str) or not _is_prefix(prefix):
            raise ValueError(f"{place[:200]!r} has no prefix of image ids")
        if not _is_place(place):
            raise ValueError(f"{place[:200]!r} is neither an absolute path nor an address")
        found[place] = Root(prefix, restored)
    return found


def roots_json(roots: Mapping[str, Root]) -> bytes:
    """The content of `sources.json`."""
    document = {place: root.to_json() for place, root in roots.items()}
    return json.dumps(document, indent=1).encode()


def write_roots(file: Path, roots: Mapping[str, Root]) -> None:
    """Write a library's `sources.json`, whole or not at all."""
    private_folder(file.parent)
    with atomic_writer(file, private=True) as out:
        out.write(roots_json(roots))


def innermost(roots: Collection[str], path: str) -> str | None:
    """The innermost of the roots that holds the path, or is it."""
    if path in roots:
        return path
    if is_url(path):
        while "://" in (path := path.rpartition("/")[0]):
            if path in roots:
                return path
        return None
    # By strings, not by `Path.parents`: this is asked of every picture of every re-scan.
    parent = os.path.dirname(path)  # noqa: PTH120
    while parent != path:
        if parent in roots:
            return parent
        path, parent = parent, os.path.dirname(parent)  # noqa: PTH120
    return None


def _is_prefix(text: str) -> bool:
    """Whether it is '' or a folder inside the library. It begins every image id, and no id may lead
    upwards."""
    if text == "":
        return True
    parts = text.split("/")
    return (
        len(text) <= MOST_CHARACTERS
        and parts[-1] == ""
        and "\0" not in text
        and not any(part in ("", ".", "..") for part in parts[:-1])
    )


def _is_place(text: str) -> bool:
    if len(text) > MOST_CHARACTERS or "\0" in text:
        return False
    return is_url(text) or os.path.isabs(text)  # noqa: PTH117
