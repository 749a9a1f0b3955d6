"""Requests that visitors of the page saved: a small JSON file among the library's files."""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from scenesearch.runtime.files import atomic_writer, private_folder
from scenesearch.search.request import MAX_CHARACTERS

MAX_SAVED = 50

_LOCK = threading.Lock()


def read_saved(file: Path) -> list[str]:
    """The saved requests, the newest first; none if the file is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(found, list):
        return []
    return [text for text in found if _is_request(text)][:MAX_SAVED]


def _is_request(text: object) -> bool:
    """A text of a possible length; half of a surrogate pair cannot be shown or written."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= MAX_CHARACTERS
        and not any("\ud800" <= letter <= "\udfff" for letter in text)
    )


def saved_json(texts: Sequence[str]) -> bytes:
    """The file's content, the newest request first; the oldest beyond the limit are left out."""
    saved = list(dict.fromkeys(text[:MAX_CHARACTERS] for text in texts))[:MAX_SAVED]
    return json.dumps(saved, ensure_ascii=False, indent=1).encode()


def save_request(file: Path, text: str) -> None:
    """Put the request first; beyond the limit, the oldest is dropped."""
    with _LOCK:
        _write(file, [text, *read_saved(file)])


def forget_request(file: Path, text: str) -> None:
    with _LOCK:
        _write(file, [saved for saved in read_saved(file) if saved != text])


def change_requests(file: Path, change: Callable[[str], str]) -> None:
    """Put what `change` makes of each request in its place. One that gets too long is dropped."""
    with _LOCK:
        saved = read_saved(file)
        changed = [change(text) for text in saved]
        if changed != saved:
            _write(file, [text for text in changed if _is_request(text)])


def _write(file: Path, texts: list[str]) -> None:
    private_folder(file.parent)
    with atomic_writer(file, private=True) as out:
        out.write(saved_json(texts))
