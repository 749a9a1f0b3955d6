"""Requests that visitors saved: a small JSON file in the library's folder."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

from scenesearch.home.renamed import SAVED_REQUESTS
from scenesearch.runtime.files import atomic_writer, private_folder
from scenesearch.search.request import MAX_CHARACTERS

FILE_NAME = SAVED_REQUESTS
MOST = 50

_GUARD = threading.Lock()


def read_saved(file: Path) -> list[str]:
    """The saved requests, the last one first; none where the file is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(found, list):
        return []
    return [text for text in found if _is_request(text)][:MOST]


def _is_request(text: object) -> bool:
    """A text of a possible length; half of a character cannot be shown or written."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= MAX_CHARACTERS
        and not any("\ud800" <= letter <= "\udfff" for letter in text)
    )


def saved_json(texts: Sequence[str]) -> bytes:
    """The content of the file, the last request first; beyond the most that are kept, the oldest
    are left out."""
    kept = list(dict.fromkeys(text[:MAX_CHARACTERS] for text in texts))[:MOST]
    return json.dumps(kept, ensure_ascii=False, indent=1).encode()


def save_request(file: Path, text: str) -> None:
    """Put the request first; beyond the most that are kept, the oldest goes."""
    with _GUARD:
        others = [kept for kept in read_saved(file) if kept != text]
        _write(file, [text[:MAX_CHARACTERS], *others][:MOST])


def forget_request(file: Path, text: str) -> None:
    with _GUARD:
        _write(file, [kept for kept in read_saved(file) if kept != text])


def _write(file: Path, texts: list[str]) -> None:
    private_folder(file.parent)
    with atomic_writer(file, private=True) as out:
        out.write(saved_json(texts))
