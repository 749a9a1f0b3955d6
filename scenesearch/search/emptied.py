"""Why filters leave nothing: 'taken:2019: no picture of this library has a date'."""

from collections.abc import Callable, Mapping, Sequence

from scenesearch.store.base import VectorStore
from scenesearch.store.fields import PayloadField, by_name
from scenesearch.store.filters import AnyOf, Condition, Has, Not


def passed_by_none(
    store: VectorStore,
    collection: str,
    fields: Sequence[PayloadField],
    named: Sequence[tuple[str, Condition]],
    told: Sequence[str] = (),
) -> list[str]:
    """Which of these conditions, each with what was written for it, no picture passes, and why;
    that none passes all of them, where each has some. None where a picture does.

    What `told` says of one already is not said again.
    """

    def passes(*where: Condition) -> int:
        return store.count(collection, where=where)

    if not named or passes(*(condition for _, condition in named)):
        return []
    if not passes():
        return ["this library holds no picture"]
    empty = [(written, condition) for written, condition in named if not passes(condition)]
    if not empty:
        listed = ", ".join(written for written, _ in named)
        return [f"no picture of this library passes all of {listed}"]
    known = by_name(fields)
    found = []
    for written, condition in empty:
        if not any(notice.startswith(f"{written}: ") for notice in told):
            found.append(f"{written}: {_why_none(condition, known, passes)}")
    return found


def _why_none(
    condition: Condition,
    fields: Mapping[str, PayloadField],
    passes: Callable[[Condition], int],
) -> str:
    """Why no picture passes the condition, in words."""
    inner = condition.condition if isinstance(condition, Not) else condition
    asked = fields_of(condition)
    nouns = " or ".join(fields[name].value_noun for name in asked)
    if isinstance(condition, Not):
        plain = inner.conditions if isinstance(inner, AnyOf) else (inner,)
        only_has = all(isinstance(one, Has) for one in plain)
        return f"every picture of this library {f'has {nouns}' if only_has else 'is left out'}"
    if not any(passes(Has(name)) for name in asked):
        return f"no picture of this library has {nouns}"
    return "no picture of this library passes it"


def fields_of(condition: Condition) -> tuple[str, ...]:
    """The fields that the condition asks about, each once."""
    inner = condition.condition if isinstance(condition, Not) else condition
    plain = inner.conditions if isinstance(inner, AnyOf) else (inner,)
    return tuple(dict.fromkeys(one.field for one in plain))
