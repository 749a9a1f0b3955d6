"""From cosine similarity to P(relevant), by the calibration an encoder folder declares.

A query that is a little like every picture ("two people") has high cosines everywhere, and they say
less. What tells such a query apart is its mean cosine over pictures, which is its product with the
mean of their embeddings: one vector that the encoder folder carries. So a hit's relevance depends
on picture and query alone, not on the library's size or on how many hits were asked for.

A query unlike all the texts that the encoder has learned from ("an MRI scan") finds cosines that
are chance, so there they say less again. How near it is to them, its `knownness`, is the mean of
its three highest cosines with some hundred texts that stand for them. That is only held against it
where the library shows what those texts are about: among pictures that they do not describe, a
query that is new may be what describes them.

So with a word that was in few training captions or in none (`scenesearch.search.vocabulary`): what
is found shows the rest of the description, and the picture says nothing of that word.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.base import EncoderError
from scenesearch.search.vocabulary import COMMON, Vocabulary

METHOD = "logistic"

# Those that are fitted are below a hundred.
_LARGEST = 1e6


class CalibrationError(EncoderError):
    """The encoder's calibration cannot be read."""


# Of how many of the known texts the cosines count: the nearest of them.
_NEAREST_TO_QUERY, _NEAREST_TO_PICTURE, _NEAREST_TO_HUB = 3, 5, 3

# So many pictures at most are those of one search.
_FEW = 64


@dataclass(frozen=True)
class Known:
    """Texts that stand for what the encoder has learned from, `(texts, dimension)`.

    Log odds gain `weight` for each unit of knownness above `typical`, the judged queries' median.
    The texts describe a picture of `familiar` cosine well and one of `foreign` cosine not at all:
    the judged pictures' tenth and first percentile. `hubness` is how much of a picture's cosines
    with the texts nearest to it is taken off its cosine before it is ranked (0: nothing), as CSLS
    does: A. Conneau et al. (2018), Word Translation Without Parallel Data.
    """

    texts: NDArray[np.float32]
    weight: float
    typical: float
    foreign: float
    familiar: float
    hubness: float = 0.0
    vocabulary: Vocabulary | None = None

    def hub_penalty(self, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        """What pictures that are near to any text lose in a ranking, `(n, dimension)` -> `(n,)`."""
        return self.hubness * nearest_known(pictures, self.texts, _NEAREST_TO_HUB)

    def of_queries(self, queries: NDArray[np.float32]) -> NDArray[np.float64]:
        """How known each query is, `(n, dimension)` -> `(n,)`."""
        return nearest_known(queries, self.texts, _NEAREST_TO_QUERY)

    def familiarity(self, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        """How well the texts describe each picture, 0-1, `(n, dimension)` -> `(n,)`."""
        described = nearest_known(pictures, self.texts, _NEAREST_TO_PICTURE)
        span = max(self.familiar - self.foreign, 1e-9)
        return np.clip((described - self.foreign) / span, 0.0, 1.0)


def nearest_known(
    vectors: NDArray[np.float32], texts: NDArray[np.float32], nearest: int
) -> NDArray[np.float64]:
    """Mean of each vector's highest cosines with the texts, `(n, dimension)` -> `(n,)`."""
    cosines = _cosines(vectors, texts)  # (n, texts)
    highest = np.partition(cosines, -nearest, axis=1)[:, -nearest:]
    mean: NDArray[np.float64] = highest.mean(axis=1, dtype=np.float64)
    return mean


def _cosines(vectors: NDArray[np.float32], texts: NDArray[np.float32]) -> NDArray[np.float32]:
    """All cosines, `(n, dimension)` and `(texts, dimension)` -> `(n, texts)`."""
    if not 0 < len(vectors) <= _FEW:
        return vectors @ texts.T
    # Two rows at a time: so small a product numpy's BLAS works out here and now. For the 50
    # pictures of a search it wakes a second thread, and waits for it on a busy machine: 0.2 ms
    # when all is quiet, either way, but 5 ms in the mean (p95 32 ms) on two busy cores against
    # 0.6 (0.3).
    rows = [vectors[start : start + 2] @ texts.T for start in range(0, len(vectors), 2)]
    return np.concatenate(rows)


def described_by(pictures: NDArray[np.float32], texts: NDArray[np.float32]) -> NDArray[np.float64]:
    """How near each picture is to what describes it best, before `Known.familiarity` scales it."""
    return nearest_known(pictures, texts, _NEAREST_TO_PICTURE)


@dataclass(frozen=True)
class Calibration:
    """P(relevant) = sigmoid(intercept + cosine * c + query_mean * m + knownness) for a cosine c of
    a query whose mean cosine over the reference pictures is m = query . mean_picture.

    A logistic regression: J. Platt (1999), Probabilistic Outputs for Support Vector Machines, with
    the query's context beside the score. Without `mean_picture` and `known` it is Platt's own.
    For a description it is the calibration `of` it.
    Fitted on human judgments by `training.calibrate`.
    """

    intercept: float
    cosine: float
    query_mean: float = 0.0
    mean_picture: NDArray[np.float64] | None = None  # (dimension,), not of unit length
    known: Known | None = None
    familiarity: float = 1.0

    def among(self, pictures: NDArray[np.float32]) -> "Calibration":
        """The calibration for a library of which these are some pictures, `(n, dimension)`."""
        if self.known is None or len(pictures) == 0:
            return self
        return replace(self, familiarity=float(self.known.familiarity(pictures).mean()))

    def of(self, text: str) -> "Calibration":
        """The calibration for a description, which says less with words that are new."""
        vocabulary = self.known.vocabulary if self.known else None
        if vocabulary is None:
            return self
        loss = vocabulary.weight * (vocabulary.rarity(text) - vocabulary.typical)
        return replace(self, intercept=self.intercept - self.familiarity * loss)

    def line(self, query: NDArray[np.float32]) -> tuple[float, float]:
        """The intercept and slope of log odds against the cosine, for the query."""
        mean = 0.0 if self.mean_picture is None else float(self.mean_picture @ query)
        intercept = self.intercept + self.query_mean * mean
        if self.known is not None:
            (knownness,) = self.known.of_queries(query[None])
            surplus = float(knownness) - self.known.typical
            intercept += self.familiarity * self.known.weight * surplus
        return intercept, self.cosine

    def average(self, query: NDArray[np.float32]) -> float:
        """The cosine of an average picture with the query; without one declared, that of a
        picture of 5 % relevance."""
        if self.mean_picture is not None:
            return float(self.mean_picture @ query)
        return (math.log(0.05 / 0.95) - self.intercept) / self.cosine

    def relevance(
        self, scores: NDArray[np.float32], query: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Probabilities 0-1 for one query's cosines (any shape); `query` is its embedding."""
        intercept, slope = self.line(query)
        return probability(intercept + slope * scores.astype(np.float64))


def probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sigmoid; never exactly 0 or 1, for no hit is ever certain."""
    return 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))


Band = Literal["strong", "partial", "weak"]

# Where a hit's relevance begins to be called so: people who judge would rather say yes than no;
# one in five would say yes.
STRONG, PARTIAL = 0.5, 0.2


def band(relevance: float) -> Band:
    """The word for a relevance."""
    shown = round(relevance, 2)  # 'weak, 20 %' would not be understood
    return "strong" if shown >= STRONG else "partial" if shown >= PARTIAL else "weak"


# For encoder folders without a calibration: CLIP-like cosines of matching pairs lie around
# 0.25-0.35 and of others below 0.2, so 0.2 becomes an even chance. A guess that
# training.calibrate replaces.
UNCALIBRATED = Calibration(intercept=-6.0, cosine=30.0)

# The same for pictures as queries: cosines of CLIP-like encoders between photographs of different
# things lie around 0.5, between those of one thing above 0.8.
UNCALIBRATED_PICTURES = Calibration(intercept=-12.0, cosine=15.0)


def read_calibration(declared: Mapping[str, Any], dimension: int) -> Calibration:
    """The calibration of an encoder.json; the documented guess when it declares none.

    Raises CalibrationError for a method or numbers this version cannot use.
    """
    if not declared:
        return UNCALIBRATED
    if declared.get("method") != METHOD:
        raise CalibrationError(
            f"calibration method {declared.get('method')!r} is unknown, expected {METHOD!r}: "
            "calibrate the encoder again"
        )
    for key in ("intercept", "cosine", *(("query_mean",) if "mean_picture" in declared else ())):
        if not _finite(declared.get(key)):
            raise CalibrationError(f"calibration needs a finite number {key!r}")
    if declared["cosine"] <= 0:
        raise CalibrationError("calibration needs 'cosine' above 0: nearer must be more relevant")
    intercept, cosine = float(declared["intercept"]), float(declared["cosine"])
    if "mean_picture" not in declared:
        return Calibration(intercept, cosine)
    mean_picture = declared["mean_picture"]
    if (
        not isinstance(mean_picture, list)
        or len(mean_picture) != dimension
        or not all(map(_finite, mean_picture))
    ):
        raise CalibrationError(f"calibration needs {dimension} finite numbers 'mean_picture'")
    mean = np.array(mean_picture, np.float64)
    known = _read_known(declared["known"], dimension) if "known" in declared else None
    return Calibration(intercept, cosine, float(declared["query_mean"]), mean, known)


_COUNTS = {str(count) for count in range(1, COMMON + 1)}
_KNOWN_NUMBERS = ("weight", "typical", "foreign", "familiar", "scale")


def known_to_json(known: Known) -> dict[str, Any]:
    """As encoder.json holds it: the vectors in bytes, 300 of 384 dimensions in 150 kB."""
    scale = float(np.abs(known.texts).max()) / 127
    levels = np.round(known.texts / scale).astype(np.int8)
    return {
        "weight": round(known.weight, 4),
        "typical": round(known.typical, 4),
        "foreign": round(known.foreign, 4),
        "familiar": round(known.familiar, 4),
        "hubness": known.hubness,
        "scale": scale,
        "texts": base64.b64encode(levels.tobytes()).decode("ascii"),
        **({"vocabulary": _vocabulary_to_json(known.vocabulary)} if known.vocabulary else {}),
    }


def _vocabulary_to_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """The words by their count, in one string each: 7,000 take 60 kB."""
    words: dict[int, list[str]] = {}
    for word, count in sorted(vocabulary.counts.items()):
        words.setdefault(count, []).append(word)
    return {
        "weight": vocabulary.weight,
        "typical": round(vocabulary.typical, 4),
        "words": {str(count): " ".join(words[count]) for count in sorted(words)},
    }


def _read_vocabulary(declared: Any) -> Vocabulary:
    words = declared.get("words") if isinstance(declared, Mapping) else None
    if (
        not isinstance(words, Mapping)
        or not all(_finite(declared.get(key)) for key in ("weight", "typical"))
        or not all(count in _COUNTS and isinstance(words[count], str) for count in words)
    ):
        raise CalibrationError(
            "calibration of 'vocabulary' needs finite 'weight' and 'typical', and 'words' by their "
            f"count of 1 to {COMMON}"
        )
    counts = {word: int(count) for count in words for word in words[count].split()}
    return Vocabulary(counts, float(declared["weight"]), float(declared["typical"]))


def _read_known(declared: Any, dimension: int) -> Known:
    if not isinstance(declared, Mapping) or not all(
        _finite(declared.get(key)) for key in _KNOWN_NUMBERS
    ):
        raise CalibrationError(
            f"calibration of 'known' needs the finite numbers {', '.join(_KNOWN_NUMBERS)}"
        )
    if not _finite(declared.get("hubness", 0.0)):
        raise CalibrationError("calibration of 'known' needs a finite 'hubness'")
    try:
        data = base64.b64decode(declared["texts"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        data = b""
    if len(data) % dimension or len(data) < _NEAREST_TO_PICTURE * dimension:
        raise CalibrationError(
            f"calibration of 'known' needs 'texts' of {dimension} dimensions in base64, "
            f"at least {_NEAREST_TO_PICTURE}"
        )
    levels = np.frombuffer(data, np.int8).reshape(-1, dimension)
    return Known(
        texts=levels.astype(np.float32) * np.float32(declared["scale"]),
        weight=float(declared["weight"]),
        typical=float(declared["typical"]),
        foreign=float(declared["foreign"]),
        familiar=float(declared["familiar"]),
        hubness=float(declared.get("hubness", 0.0)),
        vocabulary=_read_vocabulary(declared["vocabulary"]) if "vocabulary" in declared else None,
    )


def read_picture_calibration(declared: Mapping[str, Any]) -> Calibration:
    """What a cosine between two pictures means: whether people would say that a description of
    the one fits the other. The documented guess where `picture_queries` is not declared.

    Raises CalibrationError for numbers this version cannot use.
    """
    pictures = declared.get("picture_queries")
    if pictures is None:
        return UNCALIBRATED_PICTURES
    if not isinstance(pictures, Mapping) or not all(
        _finite(pictures.get(key)) for key in ("intercept", "cosine")
    ):
        raise CalibrationError(
            "calibration of 'picture_queries' needs finite 'intercept' and 'cosine'"
        )
    if pictures["cosine"] <= 0:
        raise CalibrationError("calibration of 'picture_queries' needs 'cosine' above 0")
    return Calibration(float(pictures["intercept"]), float(pictures["cosine"]))


def _finite(value: object) -> bool:
    """Whether it is a number, and none so large that what is computed with it is none any more."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
