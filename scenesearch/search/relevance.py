"""From cosine similarity to P(relevant), by the calibration an encoder folder declares.

A query that is a little like every picture ("two people") has high cosines everywhere, and they say
less. What tells such a query apart is its mean cosine over pictures, which is its product with the
mean of their embeddings: one vector that the encoder folder carries. So a hit's relevance depends
on picture and query alone, not on the library's size or on how many hits were asked for.

A query unlike all the texts that the encoder has learned from ("an MRI scan") finds cosines that
are chance, so again they say less. Its `nearness` to those texts is the mean of its three highest
cosines with some hundred texts that stand for them. A lack of nearness only counts where the
library shows what those texts are about: among pictures that they do not describe, a query unlike
them may be just the description that fits.

The same holds for a word that few training captions had, or none (`scenesearch.search.vocabulary`):
what is found shows the rest of the description, and the picture says nothing about that word.

All this is fitted on human judgments. An encoder without them has a relevance by contrast
(`scenesearch.search.contrast`).
"""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.base import EncoderError, Scale
from scenesearch.search import contrast
from scenesearch.search.background import Background, read_background
from scenesearch.search.contrast import Contrast, read_contrast
from scenesearch.search.vocabulary import COMMON, Vocabulary, is_one_word

METHOD = "logistic"

# Larger numbers are refused: computing with them would overflow. Fitted ones are below a hundred.
_LARGEST = 1e6


class CalibrationError(EncoderError):
    """The encoder's calibration cannot be read."""


# How many of the nearest training texts are averaged.
_NEAREST_TO_QUERY, _NEAREST_TO_PICTURE, _NEAREST_TO_HUB = 3, 5, 3

# A search ranks no more pictures than this for hubness.
_FEW = 64


@dataclass(frozen=True)
class TrainingTexts:
    """Texts that stand for those that the encoder has learned from, `(texts, dimension)`.

    Log odds gain `weight` for each unit of a query's nearness above `typical`, the judged queries'
    median. The texts describe a picture of `familiar` cosine well and one of `foreign` cosine not
    at all: the judged pictures' tenth and first percentile. `hubness` is the share of a picture's
    mean cosine with its nearest texts that is subtracted from its cosine before ranking (0:
    nothing), as CSLS does: A. Conneau et al. (2018), Word Translation Without Parallel Data.

    In encoder.json they are called `known`.
    """

    texts: NDArray[np.float32]
    weight: float
    typical: float
    foreign: float
    familiar: float
    hubness: float = 0.0
    vocabulary: Vocabulary | None = None

    def hub_penalty(self, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        """What pictures near to every text lose in a ranking, `(n, dimension)` -> `(n,)`."""
        return self.hubness * mean_highest_cosines(pictures, self.texts, _NEAREST_TO_HUB)

    def nearness(self, queries: NDArray[np.float32]) -> NDArray[np.float64]:
        """How near each query is to the texts, `(n, dimension)` -> `(n,)`."""
        return mean_highest_cosines(queries, self.texts, _NEAREST_TO_QUERY)

    def familiarity(self, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        """How well the texts describe each picture, 0-1, `(n, dimension)` -> `(n,)`."""
        described = mean_highest_cosines(pictures, self.texts, _NEAREST_TO_PICTURE)
        span = max(self.familiar - self.foreign, 1e-9)
        return np.clip((described - self.foreign) / span, 0.0, 1.0)


def mean_highest_cosines(
    vectors: NDArray[np.float32], texts: NDArray[np.float32], nearest: int
) -> NDArray[np.float64]:
    """Mean of each vector's highest cosines with the texts, `(n, dimension)` -> `(n,)`."""
    if 0 < len(vectors) <= _FEW:
        # Two rows at a time: numpy's BLAS computes so small a product in this thread. For the 50
        # pictures of a search at once it wakes a second thread, and on a busy machine waits for
        # it. Idle, both take 0.2 ms; on two busy cores all rows at once take 5 ms in the mean (p95
        # 32 ms), two at a time 0.6 ms (p95 0.3).
        pairs = range(0, len(vectors), 2)
        cosines = np.concatenate([vectors[row : row + 2] @ texts.T for row in pairs])
    else:
        cosines = vectors @ texts.T  # (n, texts)
    highest = np.partition(cosines, -nearest, axis=1)[:, -nearest:]
    mean: NDArray[np.float64] = highest.mean(axis=1, dtype=np.float64)
    return mean


def described_by(pictures: NDArray[np.float32], texts: NDArray[np.float32]) -> NDArray[np.float64]:
    """How near each picture is to the texts that describe it best; `familiarity` scales this."""
    return mean_highest_cosines(pictures, texts, _NEAREST_TO_PICTURE)


@dataclass(frozen=True)
class Calibration:
    """P(relevant) = sigmoid(intercept + cosine * c + query_mean * m + nearness) for a cosine c of
    a query whose mean cosine over the reference pictures is m = query . mean_picture.

    A logistic regression: J. Platt (1999), Probabilistic Outputs for Support Vector Machines, with
    the query's context beside the score. Without `mean_picture` and `training_texts` it is Platt's
    own. A description has a calibration of its own, see `of`.
    `training.calibrate` fits it on human judgments.

    One word says more than its cosine: log odds L of a request that `is_word` become shift + gain *
    L, by the pair `one_word`. Where users have marked hits, all do by the pair `refined`
    (`scenesearch.search.refine`).

    With a `contrast`, the line is that of the library's usual picture, and others lose what they
    have by chance above it. `background` stands for what a library does not show.
    """

    intercept: float
    cosine: float
    query_mean: float = 0.0
    mean_picture: NDArray[np.float64] | None = None  # (dimension,), not of unit length
    training_texts: TrainingTexts | None = None
    familiarity: float = 1.0
    refined: tuple[float, float] = (0.0, 1.0)
    is_word: bool = False
    one_word: tuple[float, float] | None = None
    contrast: Contrast | None = None
    background: Background | None = None

    def among(self, pictures: NDArray[np.float32]) -> "Calibration":
        """The calibration for a library of which these are some pictures, `(n, dimension)`."""
        if len(pictures) == 0:
            return self
        if self.contrast is not None:
            return replace(by_contrast(self.contrast.among(pictures)), refined=self.refined)
        if self.training_texts is None:
            return self
        return replace(self, familiarity=float(self.training_texts.familiarity(pictures).mean()))

    @property
    def vocabulary(self) -> Vocabulary | None:
        return self.training_texts.vocabulary if self.training_texts else None

    def of(self, text: str) -> "Calibration":
        """The calibration for a description: its rare words make it say less, and a single word
        means more."""
        own = self
        if self.vocabulary is not None:
            loss = self.vocabulary.weight * (self.vocabulary.rarity(text) - self.vocabulary.typical)
            own = replace(own, intercept=own.intercept - self.familiarity * loss)
        if self.one_word is not None and is_one_word(text):
            own = replace(own, is_word=True)
        return own

    def line(self, query: NDArray[np.float32]) -> tuple[float, float]:
        """The intercept and slope of log odds against the cosine, for the query."""
        intercept = float(self._intercepts(query[None])[0])
        return self.stretched(intercept), self.gain * self.cosine

    @property
    def gain(self) -> float:
        """How much this description's log odds are stretched."""
        word = self.one_word[1] if self.one_word is not None and self.is_word else 1.0
        return word * self.refined[1]

    def stretched(self, log_odds: float) -> float:
        """What these log odds, as they are for a sentence and before any refining, are here."""
        if self.one_word is not None and self.is_word:
            log_odds = self.one_word[0] + self.one_word[1] * log_odds
        return self.refined[0] + self.refined[1] * log_odds

    def _intercepts(self, queries: NDArray[np.float32]) -> NDArray[np.float64]:
        intercepts = np.full(len(queries), self.intercept)
        if self.mean_picture is not None:
            intercepts += self.query_mean * (queries @ self.mean_picture)
        if self.training_texts is not None:
            surplus = self.training_texts.nearness(queries) - self.training_texts.typical
            intercepts += self.familiarity * self.training_texts.weight * surplus
        return intercepts

    def surplus(self, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the pictures' cosines count too much, `(n, dimension)` -> `(n,)`."""
        return np.zeros(len(pictures)) if self.contrast is None else self.contrast.surplus(pictures)

    def of_background(self, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        """The pictures' log odds for the background before they are stretched, `(n, dimension)` ->
        `(n, descriptions)`."""
        if self.background is None:
            return np.empty((len(pictures), 0))
        intercepts = self._intercepts(self.background.vectors)
        if self.vocabulary is not None:
            intercepts += [self.of(text).intercept for text in self.background.texts]
            intercepts -= self.intercept
        cosines = self.background.cosines(pictures) - self.surplus(pictures)[:, None]
        return intercepts + self.cosine * cosines

    @property
    def background_words(self) -> NDArray[np.bool_]:
        """Which descriptions of the background are single words that mean more."""
        texts = self.background.texts if self.background is not None else ()
        return np.array([self.of(text).is_word for text in texts], bool)

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

# From here on a hit is called strong (most people would call it relevant) or partial (one in five
# would).
STRONG, PARTIAL = 0.5, 0.2


def band(relevance: float) -> Band:
    """The word for a relevance."""
    shown = round(relevance, 2)  # 'weak, 20 %' would not be understood
    return "strong" if shown >= STRONG else "partial" if shown >= PARTIAL else "weak"


# For pictures as queries, where nobody judged: a guess. Cosines of CLIP-like encoders between
# photographs of different things lie around 0.5, between those of one thing above 0.8.
UNCALIBRATED_PICTURES = Calibration(intercept=-12.0, cosine=15.0)


def by_contrast(contrast: Contrast) -> Calibration:
    return Calibration(*contrast.line(), contrast=contrast, background=contrast.background)


def read_calibration(
    declared: Mapping[str, Any], dimension: int, scale: Scale | None = None
) -> Calibration:
    """The calibration of an encoder.json, and the scale of its scores.

    Raises EncoderError for a method or numbers this version cannot use.
    """
    method = declared.get("method")
    if method == contrast.METHOD:
        found = by_contrast(read_contrast(declared, dimension, scale))
        return replace(found, refined=_read_pair(declared, "refined") or (0.0, 1.0))
    if method != METHOD:
        raise CalibrationError(
            f"calibration method {method!r} is unknown, expected {METHOD!r} or "
            f"{contrast.METHOD!r}: calibrate the encoder again"
        )
    line = _line(declared, "calibration")
    background = (
        read_background(declared["background"], dimension) if "background" in declared else None
    )
    refined = _read_pair(declared, "refined") or (0.0, 1.0)
    if "mean_picture" not in declared:
        return Calibration(*line, refined=refined, background=background)
    (query_mean,) = _numbers(declared, "calibration", "query_mean")
    mean_picture = declared["mean_picture"]
    if (
        not isinstance(mean_picture, list)
        or len(mean_picture) != dimension
        or not all(map(_finite, mean_picture))
    ):
        raise CalibrationError(f"calibration needs {dimension} finite numbers 'mean_picture'")
    texts = _read_training_texts(declared["known"], dimension) if "known" in declared else None
    return Calibration(
        *line,
        query_mean,
        np.array(mean_picture, np.float64),
        texts,
        refined=refined,
        one_word=_read_pair(declared, "one_word"),
        background=background,
    )


def _read_pair(declared: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """The shift and gain of log odds under a key, None if there is none."""
    if declared.get(key) is None:
        return None
    shift, gain = _numbers(declared[key], f"calibration of {key!r}", "shift", "gain")
    if gain <= 0:
        raise CalibrationError(f"calibration of {key!r} needs 'gain' above 0")
    return shift, gain


def read_picture_calibration(declared: Mapping[str, Any]) -> Calibration:
    """What a cosine between two pictures means: whether people would say that a description of
    the one fits the other. The documented guess where `picture_queries` is not declared.

    Raises CalibrationError for numbers this version cannot use.
    """
    if declared.get("picture_queries") is None:
        return UNCALIBRATED_PICTURES
    return Calibration(*_line(declared["picture_queries"], "calibration of 'picture_queries'"))


def training_texts_to_json(texts: TrainingTexts) -> dict[str, Any]:
    """As encoder.json holds them: the vectors in bytes, 300 of 384 dimensions in 150 kB."""
    scale = float(np.abs(texts.texts).max()) / 127
    levels = np.round(texts.texts / scale).astype(np.int8)
    document: dict[str, Any] = {
        "weight": round(texts.weight, 4),
        "typical": round(texts.typical, 4),
        "foreign": round(texts.foreign, 4),
        "familiar": round(texts.familiar, 4),
        "hubness": texts.hubness,
        "scale": scale,
        "texts": base64.b64encode(levels.tobytes()).decode("ascii"),
    }
    if texts.vocabulary:
        # The words by their count, in one string each: 7,000 take 60 kB.
        words: dict[int, list[str]] = {}
        for word, count in sorted(texts.vocabulary.counts.items()):
            words.setdefault(count, []).append(word)
        document["vocabulary"] = {
            "weight": texts.vocabulary.weight,
            "typical": round(texts.vocabulary.typical, 4),
            "words": {str(count): " ".join(words[count]) for count in sorted(words)},
        }
    return document


def _read_training_texts(declared: Any, dimension: int) -> TrainingTexts:
    of = "calibration of 'known'"
    weight, typical, foreign, familiar, scale = _numbers(
        declared, of, "weight", "typical", "foreign", "familiar", "scale"
    )
    (hubness,) = _numbers({"hubness": 0.0, **declared}, of, "hubness")
    try:
        data = base64.b64decode(declared["texts"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        data = b""
    if len(data) % dimension or len(data) < _NEAREST_TO_PICTURE * dimension:
        raise CalibrationError(
            f"{of} needs 'texts' of {dimension} dimensions in base64, "
            f"at least {_NEAREST_TO_PICTURE}"
        )
    levels = np.frombuffer(data, np.int8).reshape(-1, dimension)
    return TrainingTexts(
        levels.astype(np.float32) * np.float32(scale),
        weight,
        typical,
        foreign,
        familiar,
        hubness,
        _read_vocabulary(declared["vocabulary"]) if "vocabulary" in declared else None,
    )


def _read_vocabulary(declared: Any) -> Vocabulary:
    weight, typical = _numbers(declared, "calibration of 'vocabulary'", "weight", "typical")
    words = declared.get("words")
    if not isinstance(words, Mapping) or not all(
        count in _COUNTS and isinstance(words[count], str) for count in words
    ):
        raise CalibrationError(
            f"calibration of 'vocabulary' needs 'words' by their count of 1 to {COMMON}"
        )
    counts = {word: int(count) for count in words for word in words[count].split()}
    return Vocabulary(counts, weight, typical)


_COUNTS = {str(count) for count in range(1, COMMON + 1)}


def _line(declared: Any, of: str) -> tuple[float, float]:
    """Intercept and slope; raises CalibrationError."""
    intercept, cosine = _numbers(declared, of, "intercept", "cosine")
    if cosine <= 0:
        raise CalibrationError(f"{of} needs 'cosine' above 0: nearer must be more relevant")
    return intercept, cosine


def _numbers(declared: Any, of: str, *keys: str) -> list[float]:
    """The numbers under the keys; raises CalibrationError naming the first that is none."""
    for key in keys:
        if not isinstance(declared, Mapping) or not _finite(declared.get(key)):
            raise CalibrationError(f"{of} needs a finite number {key!r}")
    return [float(declared[key]) for key in keys]


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
