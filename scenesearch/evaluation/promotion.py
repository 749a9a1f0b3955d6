"""May a new collection replace the live one? It must hold the same pictures and not answer worse.

'Not worse' means: by the paired test of `scenesearch.evaluation.compare`, no metric of the new one
is significantly below that of the live one. With few queries that is easily reached, so the verdict
also says how large a loss they cannot exclude.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scenesearch.evaluation.compare import SIGNIFICANT, Comparison, compare
from scenesearch.evaluation.evaluate import gallery_fingerprint
from scenesearch.evaluation.output_folder import ComparisonError, SavedRun, read_saved
from scenesearch.store.base import VectorStore
from scenesearch.store.filters import Filter, Not, OneOf
from scenesearch.store.pages import OnWait, pages

# With more pictures missing than this, the two collections are not compared.
MOST_LACKING = 1000

# The metric of the sentence that sums a comparison up.
JUDGED_BY = "recall@10"

# The verdict mentions a loss of Recall@10 that the 95 % interval cannot exclude from this size on.
NOTICEABLE = 0.02


@dataclass(frozen=True)
class Gap:
    """How the pictures of two collections of a library differ, as sorted ids."""

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
    """Pictures that the new collection lacks, has in excess, or holds with another content hash."""
    missing = {
        point.image_id: point.payload.get("sha256")
        for page in pages(store, live, payload=("sha256",), on_wait=on_wait)
        for point in page
    }
    changed, extra = [], []
    for page in pages(store, new, payload=("sha256",), on_wait=on_wait):
        for point in page:
            if point.image_id not in missing:
                extra.append(point.image_id)
            elif missing.pop(point.image_id) != point.payload.get("sha256"):
                changed.append(point.image_id)
    return Gap(tuple(sorted(missing)), tuple(sorted(changed)), tuple(sorted(extra)))


@dataclass(frozen=True)
class Verdict:
    """The reasons against a promotion, the comparison if there was one, and the loss that the
    queries cannot exclude."""

    reasons: tuple[str, ...]
    comparison: Comparison | None = None
    doubt: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should have read before promoting: the reasons, else the comparison's own
        sentence where its difference is negative or its interval holds a loss."""
        if self.reasons or self.comparison is None:
            return self.reasons
        one = self.comparison.of(JUDGED_BY)
        if one.mean >= 0 and one.ci95[0] >= 0:
            return ()
        return (self.comparison.verdict(JUDGED_BY), *filter(None, [self.doubt]))


def check_promotion(
    store: VectorStore,
    live: str,
    new: str,
    evaluated: Callable[[str, Filter], SavedRun] | None,
    *,
    hint: Callable[[Gap], str],
    allow_missing: bool = False,
    on_wait: OnWait | None = None,
) -> Verdict:
    """Whether the new collection may replace the live one; used by the command and the page.

    `evaluated` returns a collection's evaluation over the pictures that pass the filter, and is
    None where the live one cannot be searched any more: the new one cannot answer worse. `hint`
    says how to close a gap.
    """
    found = gap(store, live, new, on_wait=on_wait)
    if found.changed or found.extra or (found.lacking and not allow_missing):
        return Verdict((f"{found.sentence(live, new)}; {hint(found)}",))
    if evaluated is None:
        return Verdict(())
    if len(found.lacking) > MOST_LACKING:
        return Verdict((f"{found.sentence(live, new)}: too many to compare answers",))
    where: Filter = (Not(OneOf("image_id", found.lacking)),) if found.lacking else ()
    comparison = compare(evaluated(live, where), evaluated(new, where))
    worse = ", ".join(
        f"{one.metric} {one.a:.3f} -> {one.b:.3f} (p {one.p:.3f})"
        for one in comparison.differences
        if one.mean < 0 and one.p < SIGNIFICANT
    )
    reasons = (f"it answers worse than the live one: {worse}",) if worse else ()
    return Verdict(reasons, comparison, _possible_loss(comparison))


def read_current_evaluation(
    store: VectorStore, library_dir: Path, collection: str, *, on_wait: OnWait | None = None
) -> SavedRun:
    """The collection's saved evaluation.

    Raises ComparisonError when there is none, or when it is of other pictures than the collection
    holds now.
    """
    try:
        saved = read_saved(evaluations_folder(library_dir) / collection)
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


def _possible_loss(comparison: Comparison) -> str | None:
    """The loss that these queries cannot exclude, if it is large."""
    low = comparison.of(JUDGED_BY).ci95[0]
    if low > -NOTICEABLE:
        return None
    return (
        f"{len(comparison.a.query_metrics.query_ids)} queries cannot exclude a loss of "
        f"{-100 * low:.1f} points of {JUDGED_BY}; more of them would say more"
    )


def evaluations_folder(library_dir: Path) -> Path:
    """The folder with one saved evaluation for each collection of a library."""
    return library_dir / "evaluations"
