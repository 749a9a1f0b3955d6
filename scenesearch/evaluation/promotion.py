"""May this collection take the live one's place? Both hold the same pictures, and the new one
does not answer worse.

'Not worse' is the paired test of `scenesearch.evaluation.compare`: in none of its figures is the
new one significantly below the live one. With few queries that is soon said, so the verdict also
tells which loss could have gone unnoticed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scenesearch.evaluation.compare import (
    SIGNIFICANT,
    Comparison,
    ComparisonError,
    Difference,
    SavedRun,
    compare,
    read_saved,
)
from scenesearch.evaluation.evaluate import gallery_fingerprint
from scenesearch.store.base import VectorStore
from scenesearch.store.filters import Filter, Not, OneOf
from scenesearch.store.pages import OnWait, pages

# A filter that leaves more pictures out than this is no way to compare two collections.
MOST_LACKING = 1000

# A loss of Recall@10 that the 95 % interval still allows is worth a word from here on.
NOTICEABLE = 0.02


@dataclass(frozen=True)
class Gap:
    """Pictures by which two collections of a library differ, sorted ids."""

    lacking: tuple[str, ...]
    changed: tuple[str, ...]
    extra: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.lacking or self.changed or self.extra)

    def sentence(self, live: str, new: str) -> str:
        parts = [
            f"pictures {what}: {len(ids)} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"
            for ids, what in (
                (self.lacking, f"of {live} that are not in it"),
                (self.changed, f"that have changed in {live} since"),
                (self.extra, f"that are no longer in {live}"),
            )
            if ids
        ]
        return f"{new} does not hold what {live} holds: {'; '.join(parts)}"


def gap(store: VectorStore, live: str, new: str, *, on_wait: OnWait | None = None) -> Gap:
    """What the new collection lacks of the live one, or has beyond it, by content hash."""
    held = {
        point.image_id: point.payload.get("sha256")
        for page in pages(store, live, payload=("sha256",), on_wait=on_wait)
        for point in page
    }
    changed, extra = [], []
    for page in pages(store, new, payload=("sha256",), on_wait=on_wait):
        for point in page:
            if point.image_id not in held:
                extra.append(point.image_id)
            elif held.pop(point.image_id) != point.payload.get("sha256"):
                changed.append(point.image_id)
    return Gap(tuple(sorted(held)), tuple(sorted(changed)), tuple(sorted(extra)))


@dataclass(frozen=True)
class Judgement:
    """What speaks against a collection, how both answered where that was compared, and which loss
    the queries cannot exclude."""

    reasons: tuple[str, ...]
    comparison: Comparison | None = None
    doubt: str | None = None


def judge(
    store: VectorStore,
    live: str,
    new: str,
    evaluated: Callable[[str, Filter], SavedRun],
    *,
    hint: Callable[[Gap], str],
    allow_missing: bool = False,
    on_wait: OnWait | None = None,
) -> Judgement:
    """Whether the collection may take the live one's place: command and page ask this alike.

    `evaluated` gives a collection's evaluation, over what passes the filter; `hint` says how
    to close a gap.
    """
    found = gap(store, live, new, on_wait=on_wait)
    if found.changed or found.extra or (found.lacking and not allow_missing):
        return Judgement((f"{found.sentence(live, new)}; {hint(found)}",))
    if len(found.lacking) > MOST_LACKING:
        return Judgement((f"{found.sentence(live, new)}: too many to compare answers",))
    where: Filter = (Not(OneOf("image_id", found.lacking)),) if found.lacking else ()
    comparison = compare(evaluated(live, where), evaluated(new, where))
    worse = losses(comparison)
    return Judgement((refusal(worse),) if worse else (), comparison, caution(comparison))


def saved_evaluation(
    store: VectorStore, library_dir: Path, collection: str, *, on_wait: OnWait | None = None
) -> SavedRun:
    """The collection's evaluation kept from before.

    Raises ComparisonError when there is none, or when it was of other pictures than the
    collection holds now.
    """
    try:
        saved = read_saved(saved_evaluations(library_dir) / collection)
    except ComparisonError as error:
        raise ComparisonError(
            f"a promote demands an evaluation and {collection} has none"
        ) from error
    ids = {
        point.image_id
        for page in pages(store, collection, payload=(), on_wait=on_wait)
        for point in page
    }
    if saved.gallery_fingerprint != gallery_fingerprint(ids):
        raise ComparisonError(
            f"the evaluation of {collection} is of other pictures than it holds now"
        )
    return saved


def losses(comparison: Comparison) -> tuple[Difference, ...]:
    """Figures in which the new collection (B) is significantly below the live one (A)."""
    return tuple(one for one in comparison.differences if one.mean < 0 and one.p < SIGNIFICANT)


def refusal(found: Sequence[Difference]) -> str:
    """Why a collection with these losses is not promoted."""
    figures = ", ".join(f"{one.metric} {one.a:.3f} -> {one.b:.3f} (p {one.p:.3f})" for one in found)
    return f"it answers worse than the live one: {figures}"


def caution(comparison: Comparison, metric: str = "recall@10") -> str | None:
    """What these queries cannot exclude, when that is much; None when they say enough."""
    (one,) = (one for one in comparison.differences if one.metric == metric)
    low = one.ci95[0]
    if low > -NOTICEABLE:
        return None
    return (
        f"{len(comparison.a.scores.query_ids)} queries cannot exclude a loss of "
        f"{-100 * low:.1f} points of {metric}; more of them would say more"
    )


def saved_evaluations(library_dir: Path) -> Path:
    """Where the evaluations of a library's collections are kept, a folder for each."""
    return library_dir / "evaluations"
