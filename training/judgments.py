"""Human judgments as soft targets: how many people judged a pair, and how many said yes.

Experts grade a pair from 1 to 4, the crowd says yes or no. Both become one share in [0, 1] and a
number of votes. That a pair was judged does not mean that it matches: most of the task's pairs
are judged not to match.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from scenesearch.datasets.task import CrowdJudgment, ExpertJudgment

Kind = Literal["positive", "graded", "negative"]

MATCHING_GRADE = 3.0  # mean of the experts' grades from which a pair counts as matching
MATCHING_SHARE = 0.8
# Where experts and crowd contradict each other the pair is neither; below these a side says no.
CONTRADICTING_GRADE, CONTRADICTING_SHARE = 2.0, 0.2


@dataclass(frozen=True)
class Judgment:
    """`share` of the votes say that the text describes the picture."""

    share: float
    votes: float
    kind: Kind


def combine(
    experts: Iterable[ExpertJudgment], crowd: Iterable[CrowdJudgment]
) -> dict[tuple[str, str], Judgment]:
    """(image name, query id) -> judgment, of every pair that anybody judged."""
    grades = {(row.image, row.query_id): row.grades for row in experts}
    votes = {(row.image, row.query_id): (row.yes, row.no) for row in crowd}
    pairs = dict.fromkeys([*grades, *votes])
    return {pair: judge(grades.get(pair, ()), *votes.get(pair, (0, 0))) for pair in pairs}


def judge(grades: tuple[int, ...], yes: int, no: int) -> Judgment:
    """One pair. A grade g is a vote of (g - 1) / 3: the scale's ends are no and yes."""
    total = len(grades) + yes + no
    if not total:
        raise ValueError("a pair without grades and votes is not judged")
    mean = sum(grades) / len(grades) if grades else None
    crowd = yes / (yes + no) if yes + no else None
    share = (sum((grade - 1) / 3 for grade in grades) + yes) / total
    says_yes = (mean is not None and mean >= MATCHING_GRADE) or (
        crowd is not None and crowd >= MATCHING_SHARE
    )
    says_no = (mean is not None and mean < CONTRADICTING_GRADE) or (
        crowd is not None and crowd < CONTRADICTING_SHARE
    )
    kind: Kind = "graded"
    if says_yes and not says_no:
        kind = "positive"
    elif share == 0:
        kind = "negative"
    return Judgment(share, float(total), kind)
