"""What users said of pictures by their names follows when pictures get other names.

Marks of the feedback, and requests that visitors saved: both name pictures by their ids.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from scenesearch.home.feedback import FILE_NAME, Feedback
from scenesearch.runtime.files import atomic_writer
from scenesearch.search.grammar import parse
from scenesearch.search.request import Like, QueryError
from scenesearch.store.fields import PayloadField

SAVED_REQUESTS = "saved-requests.json"


def follow(
    library_dir: Path, renames: Mapping[str, str], fields: Sequence[PayloadField], *, once: int
) -> None:
    """Give marks and saved requests of the library the new names, old id -> new id, all at once.

    `once` is a number of these renames alone, from 1 to 2**31 - 1: told a second time, because the
    first may have been cut short, marks that have followed are left as they are.
    """

    def renamed(text: str) -> str:
        return _renamed(text, renames, fields)

    if (library_dir / FILE_NAME).is_file():
        with closing(Feedback(library_dir / FILE_NAME)) as feedback:
            feedback.rename(renames, renamed, once=once)
    file = library_dir / SAVED_REQUESTS
    try:
        saved = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # none, or damaged and read as none
        return
    if not isinstance(saved, list):
        return
    after = [renamed(text) if isinstance(text, str) else text for text in saved]
    if after != saved:
        with atomic_writer(file, private=True) as out:
            out.write(json.dumps(after, ensure_ascii=False, indent=1).encode())


def _renamed(text: str, renames: Mapping[str, str], fields: Sequence[PayloadField]) -> str:
    """The request with the new names of its examples; as it was where it has none of them."""
    if "like:" not in text.lower():
        return text
    try:
        request = parse(text, fields)
    except QueryError:
        return text
    parts = tuple(
        replace(part, image_id=_new_name(part.image_id, renames))
        if isinstance(part, Like)
        else part
        for part in request.parts
    )
    return text if parts == request.parts else str(replace(request, parts=parts))


def _new_name(named: str, renames: Mapping[str, str]) -> str:
    """An example is named by its id, or by the end of it where only one picture's ends so."""
    if named in renames:
        return renames[named]
    ends = [(old, new) for old, new in renames.items() if old.endswith(f"/{named}")]
    if len(ends) != 1 or ends[0][1].endswith(f"/{named}"):
        return named
    return ends[0][1]
