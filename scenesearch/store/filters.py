"""Conditions on payload fields, independent of the engine; each home translates them."""

from dataclasses import dataclass
from datetime import datetime

from scenesearch.pictures.records import GeoPoint


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
class Has:
    """The field has a value: it is there, not null and no empty list."""

    field: str


Plain = OneOf | Range | Prefix | HasWords | Near | Has


@dataclass(frozen=True)
class AnyOf:
    """At least one of these holds; without conditions nothing passes."""

    conditions: tuple[Plain, ...]


@dataclass(frozen=True)
class Not:
    """The condition does not hold; points without the field pass."""

    condition: Plain | AnyOf


Condition = Plain | AnyOf | Not

# All conditions hold; the empty filter lets every point pass.
Filter = tuple[Condition, ...]
