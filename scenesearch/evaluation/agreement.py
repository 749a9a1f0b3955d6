"""Do scores rise with what people said? Kendall's taus, and how far relevance is from the votes.

As the CLIPScore reference counts them (Hessel et al. 2021): Flickr8k-Expert leaves out pairs whose
text is among the picture's own captions, and each of the three grades is a point of its own, tau-c;
Flickr8k-CF takes every pair with its share of yes, tau-b.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.datasets.task import CrowdJudgment, ExpertJudgment, image_of
from scenesearch.encoder.base import Encoder
from scenesearch.evaluation.evaluate import TEXT_BATCH_SIZE, EvaluationError, ids_by_ending
from scenesearch.evaluation.human_agreement import kendall_tau
from scenesearch.relevance import read_calibration
from scenesearch.store.base import VectorStore, check_encoder


@dataclass(frozen=True)
class Agreement:
    """Taus from -1 to 1, None without judgments of that kind; `mae` and `rmse` are of the relevance
    against the crowd's share of yes, a pair counting once. `left_out` judgments lack their picture
    in the library, or their text."""

    encoder: str
    gallery: int
    expert_pairs: int
    expert_tau_c: float | None
    crowd_pairs: int
    crowd_tau_b: float | None
    mae: float | None
    rmse: float | None
    left_out: int

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def measure_agreement(
    *,
    store: VectorStore,
    library: str,
    encoder: Encoder,
    texts: Mapping[str, str],
    expert: Sequence[ExpertJudgment] = (),
    crowd: Sequence[CrowdJudgment] = (),
) -> Agreement:
    """Scores every judged pair by the vectors of the library; `texts` are by query id.

    Raises EvaluationError when no judgment has both its picture and its text.
    """
    info = encoder.info
    check_encoder(
        store.describe(library),
        name=info.name,
        fingerprint=info.fingerprint,
        dimension=info.dimension,
    )
    vectors = {
        point.image_id: point.vector
        for point in store.scroll(library, payload=(), with_vectors=True)
        if point.vector is not None
    }
    ending_with = ids_by_ending(vectors)

    def found(row: ExpertJudgment | CrowdJudgment) -> NDArray[np.float32] | None:
        ids = [row.image] if row.image in vectors else ending_with.get(row.image, [])
        return vectors[ids[0]] if len(ids) == 1 and row.query_id in texts else None

    known_expert = [(row, vector) for row in expert if (vector := found(row)) is not None]
    known_crowd = [(row, vector) for row in crowd if (vector := found(row)) is not None]
    if not known_expert and not known_crowd:
        raise EvaluationError(
            f"none of the {len(expert) + len(crowd)} judgments has its picture in the library and "
            "its text in a captions file"
        )
    asked = sorted(
        {row.query_id for row, _ in known_expert} | {row.query_id for row, _ in known_crowd}
    )
    embedded = _embed(encoder, [texts[query_id] for query_id in asked])
    query = dict(zip(asked, embedded, strict=True))

    own: dict[str, set[str]] = {}
    for query_id, text in texts.items():
        own.setdefault(image_of(query_id), set()).add(text)
    foreign = [
        (row, vector)
        for row, vector in known_expert
        if texts[row.query_id] not in own.get(row.image, ())
    ]
    expert_scores = [float(query[row.query_id] @ vector) for row, vector in foreign]
    crowd_scores = np.array([float(query[row.query_id] @ v) for row, v in known_crowd])
    shares = np.array([row.share for row, _ in known_crowd])
    mae = rmse = None
    if known_crowd:
        calibration = read_calibration(info.calibration, info.dimension)
        relevance = np.array(
            [
                float(calibration.relevance(crowd_scores[n : n + 1], query[row.query_id])[0])
                for n, (row, _) in enumerate(known_crowd)
            ]
        )
        off = relevance - shares
        mae, rmse = float(np.abs(off).mean()), float(np.sqrt(np.square(off).mean()))
    grades = np.array([grade for row, _ in foreign for grade in row.grades], float)
    return Agreement(
        encoder=info.name,
        gallery=len(vectors),
        expert_pairs=len(foreign),
        expert_tau_c=_tau(np.repeat(expert_scores, 3), grades, "c"),
        crowd_pairs=len(known_crowd),
        crowd_tau_b=_tau(crowd_scores, shares, "b"),
        mae=mae,
        rmse=rmse,
        left_out=len(expert) + len(crowd) - len(known_expert) - len(known_crowd),
    )


def _tau(scores: NDArray[Any], grades: NDArray[Any], kind: str) -> float | None:
    if not len(scores):
        return None
    tau = float(getattr(kendall_tau(scores, grades), kind))
    return None if math.isnan(tau) else tau


def _embed(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    batches = range(0, len(texts), TEXT_BATCH_SIZE)
    return np.concatenate(
        [encoder.encode_texts(texts[start : start + TEXT_BATCH_SIZE]) for start in batches]
    )
