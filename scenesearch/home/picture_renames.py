"""Marks and saved requests name pictures by their ids. They follow when pictures get new ids."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.saved_requests import change_requests
from scenesearch.search.grammar import parse
from scenesearch.search.request import Like, QueryError
from scenesearch.store.fields import PayloadField


def apply_renames(
    library_dir: Path, renames: Mapping[str, str], fields: Sequence[PayloadField], *, once: int
) -> None:
    """Give marks and saved requests of the library the new names, old id -> new id, all at once.

    `once` is a number of these renames alone, from 1 to 2**31 - 1. A second call, because the first
    may have been cut short, leaves marks alone that have been renamed.
    """

    def renamed(text: str) -> str:
        return _rename_examples(text, renames, fields)

    files = LibraryFiles(library_dir)
    if files.feedback.is_file():
        with files.open_feedback() as feedback:
            feedback.rename(renames, renamed, once=once)
    change_requests(files.saved_requests, renamed)


def _rename_examples(text: str, renames: Mapping[str, str], fields: Sequence[PayloadField]) -> str:
    """The request with new ids in its `like:` examples; unchanged if none was renamed."""
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
    """An example is given by its id, or by an ending that only one id has."""
    if named in renames:
        return renames[named]
    ends = [(old, new) for old, new in renames.items() if old.endswith(f"/{named}")]
    if len(ends) != 1 or ends[0][1].endswith(f"/{named}"):
        return named
    return ends[0][1]
