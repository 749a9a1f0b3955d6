"""Marks, collections and changes of tags name pictures by their ids. They follow when pictures
get new ids."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.saved_collections import SavedCollection, follow_renames
from scenesearch.search.grammar import parse
from scenesearch.search.request import MAX_CHARACTERS, Like, QueryError
from scenesearch.store.fields import PayloadField


def apply_renames(
    library_dir: Path,
    renames: Mapping[str, str],
    fields: Sequence[PayloadField],
    *,
    once: int,
    to_copies: bool = False,
) -> None:
    """Give marks, collections and changes of tags of the library the new names, old id -> new
    id, all at once.

    With `to_copies`, the new ids are those of copies that stay. They are added where their copies
    were, but excluded nowhere: whoever excludes a copy may want the picture once.

    `once` is a number of these renames alone, from 1 to 2**31 - 1. A second call, because the first
    may have been cut short, leaves alone what has been renamed.
    """

    def renamed(text: str) -> str:
        return _rename_examples(text, renames, fields)

    files = LibraryFiles(library_dir)
    if files.feedback.is_file():
        with files.open_feedback() as feedback:
            feedback.rename(renames, renamed, once=once)
    if files.tag_changes.is_file():
        with files.open_tag_changes() as changes:
            changes.rename(renames, once=once)

    def followed(one: SavedCollection) -> SavedCollection:
        request = renamed(one.request)
        if len(request) > MAX_CHARACTERS and not one.is_plain:
            request = one.request
        one = replace(one, name=request if one.name == one.request else one.name, request=request)
        if to_copies:
            return replaced_by_copies(one, renames)
        return replace(
            one,
            picture=renames.get(one.picture, one.picture),
            added=tuple(renames.get(image_id, image_id) for image_id in one.added),
            excluded=tuple(renames.get(image_id, image_id) for image_id in one.excluded),
        )

    follow_renames(files.saved_requests, followed, once=once)


def replaced_by_copies(one: SavedCollection, copies: Mapping[str, str]) -> SavedCollection:
    """The collection with copies in place of pictures that leave, id -> id of the copy."""
    added = tuple(dict.fromkeys(copies.get(image_id, image_id) for image_id in one.added))
    # A picture that is added is not excluded too.
    excluded = tuple(image_id for image_id in one.excluded if image_id not in set(added))
    picture = copies.get(one.picture, one.picture)
    return replace(one, picture=picture, added=added, excluded=excluded)


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
