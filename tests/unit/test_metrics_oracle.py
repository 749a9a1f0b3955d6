"""The metrics against ir_measures (trec_eval) on random runs with ties, gaps and grades."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, R, Success, nDCG

from scenesearch.evaluation.metrics import Run, ranking, score_queries

MEASURES = {
    "recall@1": R @ 1,
    "recall@5": R @ 5,
    "recall@10": R @ 10,
    "success@1": Success @ 1,
    "success@5": Success @ 5,
    "success@10": Success @ 10,
    "mrr": RR,
    "ndcg@10": nDCG @ 10,
    "map": AP,
}


def random_qrels_and_run(
    seed: int,
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    generator = np.random.default_rng(seed)
    images = [f"img{number:03d}" for number in range(60)]
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for number in range(80):
        judged = generator.choice(images, size=generator.integers(1, 15), replace=False)
        grades = generator.integers(0, 4, size=len(judged))
        grades[0] = max(1, grades[0])
        qrels[f"q{number}"] = {str(i): int(g) for i, g in zip(judged, grades, strict=True)}
        if number % 10 == 9:
            continue  # the run lacks this query
        found = generator.choice(images, size=generator.integers(1, 40), replace=False)
        # One decimal among up to 40 images: most scores are shared by several.
        tied = np.round(generator.random(len(found)), 1)
        run[f"q{number}"] = {str(i): float(s) for i, s in zip(found, tied, strict=True)}
    return qrels, run


def without_ties(run: Run) -> dict[str, dict[str, float]]:
    """The same rankings with distinct scores: trec_eval breaks ties by id, descending."""
    return {
        query_id: {image_id: float(-rank) for rank, image_id in enumerate(ranking(scores))}
        for query_id, scores in run.items()
    }


@pytest.mark.parametrize("seed", range(5))
def test_every_metric_agrees_with_trec_eval_query_by_query(seed: int) -> None:
    qrels, run = random_qrels_and_run(seed)
    scores = score_queries(qrels, run)
    ours = {
        (query_id, name): value
        for name, values in scores.per_query.items()
        for query_id, value in zip(scores.query_ids, values, strict=True)
    }
    names = {measure: name for name, measure in MEASURES.items()}
    theirs = {
        (metric.query_id, names[metric.measure]): metric.value
        for metric in ir_measures.iter_calc(MEASURES.values(), qrels, without_ties(run))
    }
    assert len(theirs) == 80 * len(MEASURES)
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_the_means_agree_with_trec_eval_with_missing_queries_counted_as_zero() -> None:
    qrels, run = random_qrels_and_run(99)
    theirs = ir_measures.calc_aggregate(MEASURES.values(), qrels, without_ties(run))
    ours = score_queries(qrels, run).means()
    assert {name: ours[name] for name in MEASURES} == pytest.approx(
        {name: theirs[measure] for name, measure in MEASURES.items()}, abs=1e-9
    )
