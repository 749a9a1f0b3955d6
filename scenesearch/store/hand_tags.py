"""Tags that a person added to a picture, or removed from it.

They are kept apart from what files and tables say, under the key `by_hand` of a payload, together
with the tags that tables say. The searched `tags` are always

    what tables say, what the file says, what was added; without what was removed

so that a later ingest, which reads files and tables anew, changes nothing about them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

KEY: Final = "by_hand"


@dataclass(frozen=True)
class HandTags:
    """Tags as they were written; upper and lower case do not tell two apart."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    def applied(self, tags: Iterable[str]) -> list[str]:
        """The tags of files and tables with these changes."""
        removed = {tag.casefold() for tag in self.removed}
        found: dict[str, str] = {}
        for tag in (*tags, *self.added):
            found.setdefault(tag.casefold(), tag)
        return [tag for folded, tag in found.items() if folded not in removed]

    def state(self, tag: str) -> str:
        """'added', 'removed', or '' for a tag that nobody has touched."""
        for state, tags in (("added", self.added), ("removed", self.removed)):
            if tag.casefold() in (one.casefold() for one in tags):
                return state
        return ""

    def having(self, tag: str, state: str) -> "HandTags":
        """The same with another state of this tag."""
        added, removed = (
            tuple(one for one in tags if one.casefold() != tag.casefold())
            for tags in (self.added, self.removed)
        )
        if state == "added":
            added = (*added, tag)
        elif state == "removed":
            removed = (*removed, tag)
        return HandTags(added, removed)

    def joined(self, other: "HandTags") -> "HandTags":
        """Both; where they disagree, this one counts."""
        joined = self
        for state, tags in (("added", other.added), ("removed", other.removed)):
            for tag in tags:
                if not joined.state(tag):
                    joined = joined.having(tag, state)
        return joined

    def to_json(self) -> dict[str, list[str]]:
        return {
            name: list(tags)
            for name, tags in (("added", self.added), ("removed", self.removed))
            if tags
        }


def hand_tags_of(payload: Mapping[str, Any]) -> HandTags:
    """What was changed by hand, in a payload or a description."""
    said = payload.get(KEY)
    if not is_by_hand(said):  # a table's column of an early version may have the name
        return HandTags()
    return HandTags(tuple(said.get("added", ())), tuple(said.get("removed", ())))


def table_tags_of(payload: Mapping[str, Any]) -> list[str]:
    """The tags that tables say of the picture."""
    said = payload.get(KEY)
    if is_by_hand(said):
        return list(said.get("tables", ()))
    own = file_tags_of(payload)
    return [tag for tag in payload.get("tags", ()) if tag not in own]


def file_tags_of(payload: Mapping[str, Any]) -> list[str]:
    """The tags that the picture's file, and the files beside it, say."""
    return list(payload.get("own", {}).get("tags", ()))


def with_hand_tags(payload: Mapping[str, Any], hand: HandTags) -> dict[str, Any]:
    """The payload with these tags by hand in place of those that it has."""
    tables = table_tags_of(payload)
    after = {name: value for name, value in payload.items() if name not in ("tags", KEY)}
    if tags := hand.applied([*tables, *file_tags_of(payload)]):
        after["tags"] = tags
    if hand:
        after[KEY] = hand.to_json() | ({"tables": tables} if tables else {})
    return after


def is_by_hand(value: Any) -> TypeGuard[dict[str, list[str]]]:
    """Whether it is a value of the key."""
    return (
        type(value) is dict
        and value.keys() <= {"added", "removed", "tables"}
        and all(
            type(tags) is list and all(type(tag) is str for tag in tags) for tags in value.values()
        )
    )
