"""The default cut: where at most one in ten things that a library does not show is found.

The best of a million chance cosines is higher than the best of a hundred, so a fixed relevance says
something else in every library. Here the background descriptions stand for what is not there. Their
best relevance among a sample of the library's pictures is what chance reaches in so many pictures;
for more, it is raised by as much as the best of more draws is higher, where each description's
scores are normal.

Where single words have a calibration of their own, they have a cut of their own: by chance they
reach less.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenesearch.search.background import FEWEST

# The share of absent things that the cut keeps out: one in ten is promised, and the background does
# not stand for all that is asked for.
KEPT_OUT = 0.91

# Descriptions that the library does show spread widely, and would raise the cut. So spreads are
# drawn a fifth of the way to their median. The tail beyond the 98th percentile is a little heavier
# than normal.
_OWN_SPREAD = 0.8
_TAIL, _TAIL_OF_NORMAL = 0.98, 2.0537


@dataclass(frozen=True)
class Chance:
    """Log odds of the background among `sampled` pictures: the best one of each description, its
    mean and its spread, each `(descriptions,)`."""

    sampled: int
    best: NDArray[np.float64]
    means: NDArray[np.float64]
    spreads: NDArray[np.float64]

    def cut(self, pictures: int) -> float:
        """The log odds that one in ten descriptions reaches in a library of so many pictures."""
        reached = float(np.quantile(self.best, KEPT_OUT))
        if pictures <= self.sampled:
            return reached
        return reached + self._normal(pictures) - self._normal(self.sampled)

    def _normal(self, pictures: int) -> float:
        """The same by the normal model, found by halving."""
        low = float(self.means.min())
        high = float((self.means + 10 * self.spreads).max())
        while high - low > 1e-3:
            middle = (low + high) / 2
            steps = (middle - self.means) / self.spreads
            # The chance that no picture reaches it, of each description.
            below = np.array([_below(step) for step in steps.tolist()])
            if float(np.exp(pictures * below).mean()) < KEPT_OUT:
                low = middle
            else:
                high = middle
        return high


def _below(step: float) -> float:
    """The logarithm of the normal distribution function."""
    return math.log1p(-0.5 * math.erfc(step / math.sqrt(2))) if step > -5 else -math.inf


def measure_chance(log_odds: NDArray[np.float64]) -> Chance:
    """From the log odds of a library's pictures for the background, `(pictures, descriptions)`."""
    means, own = log_odds.mean(axis=0), np.maximum(log_odds.std(axis=0), 1e-6)
    tail = np.quantile((log_odds - means) / own, _TAIL) / _TAIL_OF_NORMAL
    spreads = _OWN_SPREAD * own + (1 - _OWN_SPREAD) * np.median(own)
    return Chance(len(log_odds), log_odds.max(axis=0), means, max(1.0, float(tail)) * spreads)


@dataclass(frozen=True)
class Chances:
    """Chance for requests of one word, and for all others."""

    word: Chance
    other: Chance

    def cuts(self, pictures: int) -> "Cuts":
        return Cuts(self.word.cut(pictures), self.other.cut(pictures))


@dataclass(frozen=True)
class Cuts:
    """Log odds before they are stretched."""

    word: float
    other: float

    def of(self, is_word: bool) -> float:
        return self.word if is_word else self.other


def measure_chances(log_odds: NDArray[np.float64], words: NDArray[np.bool_]) -> Chances:
    """`words` says which descriptions are single words. With few of either kind, all count for
    both."""
    if min(words.sum(), (~words).sum()) < FEWEST:
        return Chances(*[measure_chance(log_odds)] * 2)
    return Chances(measure_chance(log_odds[:, words]), measure_chance(log_odds[:, ~words]))
