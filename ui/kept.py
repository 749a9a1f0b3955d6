"""Requests that visitors saved: a small JSON file in the library's folder."""

import json
import threading
from pathlib import Path

from scenesearch.images import atomic_writer
from scenesearch.request import MAX_CHARACTERS

FILE_NAME = "saved-requests.json"
MOST = 50

_GUARD = threading.Lock()


def read_saved(file: Path) -> list[str]:
    """The saved requests, the last one first; none where the file is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def save_request(file: Path, text: str) -> None:
    """Put the request first; beyond the most that are kept, the oldest goes."""
    with _GUARD:
        others = [kept for kept in read_saved(file) if kept != text]
        _write(file, [text[:MAX_CHARACTERS], *others][:MOST])


def forget_request(file: Path, text: str) -> None:
    with _GUARD:
        _write(file, [kept for kept in read_saved(file) if kept != text])


def _write(file: Path, texts: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(file) as out:
        out.write(json.dumps(texts, ensure_ascii=False, indent=1).encode())
