"""Conditions on payload fields, in words that no engine owns; each store translates them."""

from dataclasses import dataclass
from datetime import datetime

from scenesearch.library import GeoPoint


@dataclass(frozen=True)
class OneOf:
    """The field has one of these values ('=' is a OneOf of a single value)."""

    field: str
    values: tuple[str | int | bool, ...]


@dataclass(frozen=True)
class Range:
    """The field lies between the bounds; None leaves an end open."""

    field: str
    at_least: int | float | datetime | None = None
    at_most: int | float | datetime | None = None
    above: int | float | datetime | None = None
    below: int | float | datetime | None = None


@dataclass(frozen=True)
class Prefix:
    """The keyword begins with these characters (case-sensitive)."""

    field: str
    prefix: str


@dataclass(frozen=True)
class HasWords:
    """The text field holds all these words, in any order."""

    field: str
    words: str


@dataclass(frozen=True)
class Near:
    """The place lies within the radius."""

    field: str
    center: GeoPoint
    radius_m: float


@dataclass(frozen=True)
class Not:
    """The condition does not hold; a point without the field fulfils this."""

    condition: "OneOf | Range | Prefix | HasWords | Near"


Condition = OneOf | Range | Prefix | HasWords | Near | Not

# All conditions hold; the empty filter lets every point pass.
Filter = tuple[Condition, ...]
