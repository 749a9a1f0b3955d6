"""The colours of a map's points by a field: a byte for each picture, and what the bytes mean."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from scenesearch.store.fields import PayloadField

# Fields that a map can be coloured by; others have a value of their own for each picture.
COLOURED_BY = ("keyword", "boolean", "integer", "float", "datetime")

# So many values have colours that one can tell apart, beside 'others'.
_MOST_NAMES = 10
_LONGEST_NAME = 60
NONE = 255


class Colours(NamedTuple):
    """`codes` for the pictures in order, 255 for one without a value. With `names` a code is the
    place of its name, else it stands between `low` (0) and `high` (254)."""

    codes: bytes
    names: list[str] | None = None
    low: str = ""
    high: str = ""


def colours_of(
    field: PayloadField, ids: Sequence[str], read: Iterable[tuple[str, Mapping[str, Any]]]
) -> Colours:
    """The colours of these pictures by the field, whose values are `read` in any order."""
    known = {image_id: _first(payload.get(field.name)) for image_id, payload in read}
    values = [known.get(image_id) for image_id in ids]
    if field.type in ("integer", "float"):
        return _by_number([value if _is_number(value) else None for value in values])
    if field.type == "datetime":
        years = [int(str(v)[:4]) if str(v)[:4].isdigit() else None for v in values]
        return _by_number(years)
    return _by_name([_written(value) for value in values])


def _by_number(values: Sequence[float | None]) -> Colours:
    known = np.array([value for value in values if value is not None], float)
    if not len(known):
        return Colours(bytes([NONE]) * len(values), names=[])
    # The ends are those of nearly all: one wrong year must not take all the colours.
    low, high = np.percentile(known, [1, 99], method="nearest")
    step = 254 / (high - low) if high > low else 0.0
    codes = [NONE if v is None else int(min(max((v - low) * step, 0), 254)) for v in values]
    return Colours(bytes(codes), low=_number(float(low)), high=_number(float(high)))


def _by_name(values: Sequence[str]) -> Colours:
    frequent = [value for value, _ in Counter(filter(None, values)).most_common(_MOST_NAMES + 1)]
    names = frequent[:_MOST_NAMES]
    codes = {name: code for code, name in enumerate(names)}
    if len(frequent) > _MOST_NAMES:
        names.append("others")
    others = len(names) - 1 if len(frequent) > _MOST_NAMES else NONE
    return Colours(
        bytes(codes.get(value, others) if value else NONE for value in values), names=names
    )


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value in (None, []) else " ".join(str(value).split())[:_LONGEST_NAME]


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
