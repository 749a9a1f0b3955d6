"""Conditions on payload fields, independent of the engine; each home translates them."""

from collections.abc import Iterator
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
class HasPhrase:
    """The text field holds these words, one right after the other."""

    field: str
    phrase: str


@dataclass(frozen=True)
class Near:
    """The place lies within the radius."""

    field: str
    center: GeoPoint
    radius_m: float


@dataclass(frozen=True)
class Within:
    """The place lies between the degrees, which belong to it; a box whose west lies east of its
    east crosses the 180th meridian."""

    field: str
    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True)
class Has:
    """The field has a value: it is there, not null and no empty list."""

    field: str


Plain = OneOf | Range | Prefix | HasWords | HasPhrase | Near | Within | Has


@dataclass(frozen=True)
class AnyOf:
    """At least one of these holds; without conditions nothing passes."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True)
class AllOf:
    """All of these hold; without conditions every point passes."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True)
class Not:
    """The condition does not hold; points without the field pass."""

    condition: "Condition"


Condition = Plain | AnyOf | AllOf | Not

# All conditions hold; the empty filter lets every point pass.
Filter = tuple[Condition, ...]


def opposite(condition: Condition) -> Condition:
    """What exactly those points pass that the condition does not let pass."""
    return condition.condition if isinstance(condition, Not) else Not(condition)


def plain_conditions(condition: Condition) -> Iterator[Plain]:
    """What the condition is made of, from left to right."""
    match condition:
        case Not(condition=inner):
            yield from plain_conditions(inner)
        case AnyOf(conditions=conditions) | AllOf(conditions=conditions):
            for one in conditions:
                yield from plain_conditions(one)
        case _:
            yield condition
