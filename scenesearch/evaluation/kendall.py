"""Kendall's rank correlation, for scores and few different grades, with ties."""

import math

import numpy as np
from numpy.typing import NDArray


def kendall_tau(scores: NDArray[np.floating], grades: NDArray[np.floating]) -> tuple[float, float]:
    """Tau-b and tau-c of scores `(n,)` and grades `(n,)`, exact; NaN when either has one value.

    Time and memory grow with n times the number of different grades. Raises ValueError for arrays
    of different lengths, or a value that is not a number.
    """
    if scores.shape != grades.shape or scores.ndim != 1:
        raise ValueError(f"{scores.shape} scores cannot be compared with {grades.shape} grades")
    if np.isnan(scores).any() or np.isnan(grades).any():
        raise ValueError("a score or grade is not a number")
    levels, level = np.unique(scores, return_inverse=True)
    classes, grade = np.unique(grades, return_inverse=True)
    fewer = min(len(levels), len(classes))
    if fewer < 2:
        return math.nan, math.nan
    table = np.bincount(level * len(classes) + grade, minlength=len(levels) * len(classes))
    table = table.reshape(len(levels), len(classes))  # (levels, classes): how many points
    below = np.cumsum(table, axis=0) - table  # points of a lower score, by grade
    upto = np.cumsum(below, axis=1)
    lower_grade, higher_grade = upto - below, upto[:, -1:] - upto
    concordant_minus_discordant = int((table * (lower_grade - higher_grade)).sum())

    n = len(scores)
    pairs = n * (n - 1) // 2
    tied_scores = _pairs_within(table.sum(axis=1))
    tied_grades = _pairs_within(table.sum(axis=0))
    tau_b = concordant_minus_discordant / (
        math.sqrt(pairs - tied_scores) * math.sqrt(pairs - tied_grades)
    )
    return tau_b, 2 * concordant_minus_discordant / (n**2 * (fewer - 1) / fewer)


def _pairs_within(sizes: NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())
