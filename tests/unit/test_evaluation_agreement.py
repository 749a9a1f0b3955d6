"""Agreement with human judgments, on colours whose cosines order themselves."""

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from scenesearch.datasets.task import CrowdJudgment, ExpertJudgment
from scenesearch.evaluation.agreement import measure_agreement
from scenesearch.evaluation.evaluate import EvaluationError
from scenesearch.store.base import CollectionSpec, EncoderMismatch, Point
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder

TEXTS = {"red.jpg#0": "red", "blue.jpg#0": "blue", "green.jpg#0": "green"}


@pytest.fixture
def store(tmp_path: Path, colour_encoder: ColourEncoder) -> Iterator[EdgeStore]:
    with closing(EdgeStore(tmp_path)) as opened:
        info = colour_encoder.info
        spec = CollectionSpec(
            library="colours",
            encoder=info.name,
            fingerprint=info.fingerprint,
            dimension=info.dimension,
            fields=(),
        )
        opened.create_collection("colours-1", spec)
        vectors = colour_encoder.encode_texts(["red", "blue", "green"])
        opened.upsert(
            "colours-1",
            [
                Point(f"2020/{name}.jpg", vector, {})
                for name, vector in zip(("red", "blue", "green"), vectors, strict=True)
            ],
        )
        opened.set_alias("colours", "colours-1")
        yield opened


def test_votes_that_rise_with_the_cosine_agree_perfectly(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    crowd = [
        CrowdJudgment("red.jpg", "red.jpg#0", 1.0, 3, 0),
        CrowdJudgment("red.jpg", "blue.jpg#0", 0.0, 0, 3),
        CrowdJudgment("gone.jpg", "blue.jpg#0", 1.0, 3, 0),
        CrowdJudgment("blue.jpg", "silent.jpg#0", 1.0, 3, 0),
    ]
    found = measure_agreement(
        store=store, library="colours", encoder=colour_encoder, texts=TEXTS, crowd=crowd
    )
    assert (found.crowd_pairs, found.left_out) == (2, 2)
    assert found.figures["crowd_tau_b"] == pytest.approx(1.0)
    assert found.expert_pairs == 0
    assert "expert_tau_c" not in found.figures
    # sigmoid(12 cos - 9): at cosine 1 it promises .953, its share is 1; far off it promises 0
    off = 1 - 1 / (1 + np.exp(-3))
    assert found.figures["mae"] == pytest.approx(off / 2, abs=1e-3)
    assert found.figures["shipped_brier"] == pytest.approx(off**2 / 2, abs=1e-3)
    assert found.figures["shipped_auroc"] == 1


def test_experts_on_a_pictures_own_caption_are_left_out_and_each_grade_is_a_point(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    expert = [
        ExpertJudgment("red.jpg", "red.jpg#0", (1, 1, 1)),  # its own: would spoil the order
        ExpertJudgment("red.jpg", "blue.jpg#0", (1, 1, 1)),
        ExpertJudgment("green.jpg", "copy.jpg#0", (4, 4, 4)),
    ]
    texts = TEXTS | {"copy.jpg#0": "green yellow"}
    found = measure_agreement(
        store=store, library="colours", encoder=colour_encoder, texts=texts, expert=expert
    )
    assert found.expert_pairs == 2
    assert found.figures["expert_tau_c"] == pytest.approx(1.0)
    assert "mae" not in found.figures
    document = found.to_json()
    assert document["pairs"] == {"expert": 2, "crowd": 0}
    assert document["crowd_tau_b"] is None
    # its own caption, graded 1, is nearer than the text graded 4; the third pair is not
    assert document["calibration"]["auroc"] == 0.5


def test_condensed_ndcg_judges_the_order_of_judged_pictures_alone(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    expert = [  # "red" is nearest to red, then blue or green; the graders prefer the second
        ExpertJudgment("red.jpg", "red.jpg#0", (2, 2, 2)),
        ExpertJudgment("green.jpg", "red.jpg#0", (4, 4, 4)),
        ExpertJudgment("blue.jpg", "blue.jpg#0", (4, 4, 4)),  # alone: no order to get wrong
    ]
    found = measure_agreement(
        store=store, library="colours", encoder=colour_encoder, texts=TEXTS, expert=expert
    )
    second = 1 / math.log2(3)
    assert found.ndcg_queries == 1
    assert found.figures["expert_ndcg@10"] == pytest.approx((1 + 3 * second) / (3 + 1 * second))


def test_judgments_of_other_pictures_are_refused(
    store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    crowd = [CrowdJudgment("gone.jpg", "red.jpg#0", 1.0, 3, 0)]
    with pytest.raises(EvaluationError, match="none of the 1 judgments has its picture"):
        measure_agreement(
            store=store, library="colours", encoder=colour_encoder, texts=TEXTS, crowd=crowd
        )


def test_another_encoders_library_is_refused(store: EdgeStore) -> None:
    with pytest.raises(EncoderMismatch):
        measure_agreement(
            store=store, library="colours", encoder=ColourEncoder(fingerprint="other"), texts=TEXTS
        )
