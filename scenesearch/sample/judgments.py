"""Crowd and expert judgments of drawn scenes, computed from how much their contents overlap.

There is no randomness: the three experts differ in strictness, the three voters in their threshold.
So each judgment can be worked out by hand from two scenes.
"""

from scenesearch.sample.scenes import (
    ANIMALS,
    BUILDINGS,
    CRAFT,
    PEOPLE,
    VEHICLES,
    Scene,
    Thing,
)

_FAMILIES = (
    frozenset(PEOPLE),
    frozenset(ANIMALS),
    frozenset(VEHICLES),
    frozenset(CRAFT),
    frozenset(BUILDINGS),
    frozenset(("tree", "pine tree", "palm tree", "cactus")),
    frozenset(("flower", "mushroom")),
    frozenset(("ball", "balloon", "kite")),
    frozenset(("sofa", "chair", "lamp", "bench")),
)
_REGIONS = (
    frozenset(("meadow", "farm", "country road", "park", "garden", "football pitch", "savanna")),
    frozenset(("beach", "harbour", "open sea", "lake", "river", "underwater")),
    frozenset(("city street", "village", "country road", "park")),
    frozenset(("forest", "campsite", "park")),
    frozenset(("mountains", "snow")),
    frozenset(("desert", "beach", "savanna")),
)

# An expert gives 4 from the first bound up, 3 from the second, 2 from the third.
_GRADE_BOUNDS = ((0.84, 0.58, 0.34), (0.90, 0.64, 0.38), (0.95, 0.70, 0.42))
# A voter says yes if the overlap is at least this.
_YES_BOUNDS = (0.55, 0.66, 0.78)


def overlap(pictured: Scene, described: Scene) -> float:
    """How much of a described scene is in a picture, 0..1; 1 for the picture itself."""
    pictured_thing, described_thing = pictured.main, described.main
    subject = _likeness(pictured_thing, described_thing)
    if subject < 0.5 and pictured.second is not None:
        # the caption may be about the second thing in the picture
        second = _likeness(pictured.second, described_thing)
        if second > 0.5:
            pictured_thing, subject = pictured.second, 0.6 * second
    details = 0.10 * (pictured_thing.colour == described_thing.colour)
    details += 0.08 * (pictured_thing.count == described_thing.count)
    same_action = pictured_thing.action == described_thing.action
    details += 0.10 * (same_action and pictured_thing.prop == described_thing.prop)
    total = 0.42 * subject + details * subject
    total += 0.16 * _region_likeness(pictured.setting, described.setting)
    if described.second is None:
        total += 0.08 * (pictured.second is None)
    else:
        total += 0.08 * max(_likeness(thing, described.second) for thing in pictured.things)
    total += 0.03 * (pictured.time_of_day == described.time_of_day)
    total += 0.03 * (pictured.weather == described.weather)
    return round(total, 6)


def expert_grades(share: float) -> tuple[int, int, int]:
    """Grades 1..4 of a lenient, a middling and a strict expert for an overlap."""
    lenient, middling, strict = (
        1 + sum(share >= bound for bound in bounds) for bounds in _GRADE_BOUNDS
    )
    return lenient, middling, strict


def crowd_votes(share: float) -> tuple[int, int]:
    """How many of three voters say yes, and how many say no, for an overlap."""
    yes = sum(share >= bound for bound in _YES_BOUNDS)
    return yes, len(_YES_BOUNDS) - yes


def _likeness(one: Thing, other: Thing) -> float:
    """1 for the same kind, half for one of the same family, else 0."""
    if one.kind == other.kind:
        return 1.0
    return 0.5 * any(one.kind in family and other.kind in family for family in _FAMILIES)


def _region_likeness(one: str, other: str) -> float:
    if one == other:
        return 1.0
    return 0.5 * any(one in region and other in region for region in _REGIONS)
