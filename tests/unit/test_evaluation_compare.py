"""Is B better than A: a broken encoder is called worse, an identical one no different."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas
import pytest

from scenesearch.evaluation.compare import compare, randomisation_p
from scenesearch.evaluation.metrics import QueryMetrics, score_queries
from scenesearch.evaluation.output_folder import ComparisonError, read_saved, save_run
from scenesearch.evaluation.result import Evaluation

PICTURES, CAPTIONS = 60, 3


def save(folder: Path, similarity: np.ndarray, *, gallery: str = "g", encoder: str = "e") -> Path:
    """The evaluation of `similarity` (queries, pictures), three queries for each picture."""
    folder.mkdir()
    ids = [f"{n}.jpg" for n in range(PICTURES)]
    names = [f"{image}#{n}" for image, n in product(ids, range(CAPTIONS))]
    qrels = {name: {name.split("#")[0]: 1} for name in names}
    run = {
        name: dict(zip(ids, row.tolist(), strict=True))
        for name, row in zip(names, similarity, strict=True)
    }
    scores = score_queries(qrels, run)
    evaluation = Evaluation(
        encoder=encoder,
        fingerprint="f",
        library="l",
        gallery=PICTURES,
        gallery_fingerprint=gallery,
        depth=PICTURES,
        texts=dict.fromkeys(names, "words"),
        qrels=qrels,
        run=run,
        query_metrics=scores,
        metrics=scores.means(),
        ci95={},
        omissions=(),
        embeddings=np.zeros((len(names), 2), np.float32),
    )
    save_run(folder, evaluation)
    summary = {"encoder": encoder, "gallery": PICTURES, "gallery_fingerprint": gallery}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def similarity() -> np.ndarray:
    """Right for most queries, by a margin that noise sometimes eats."""
    rng = np.random.default_rng(0)
    right = np.repeat(np.eye(PICTURES), CAPTIONS, axis=0)
    return right + rng.normal(0, 0.3, right.shape)


def test_an_identical_run_is_no_difference(tmp_path: Path, similarity: np.ndarray) -> None:
    a, b = save(tmp_path / "a", similarity), save(tmp_path / "b", similarity)
    found = compare(read_saved(a), read_saved(b))
    assert found.verdict().startswith("no difference: A and B place every relevant picture alike")
    assert (found.wins, found.losses, found.ties) == (0, 0, PICTURES * CAPTIONS)
    assert {one.p for one in found.differences} == {1.0}


def test_shuffled_vectors_are_called_worse(tmp_path: Path, similarity: np.ndarray) -> None:
    shuffled = np.random.default_rng(1).permutation(similarity, axis=1)
    a, b = save(tmp_path / "a", similarity), save(tmp_path / "b", shuffled)
    found = compare(read_saved(a), read_saved(b))
    assert found.verdict().startswith("B is worse than A on these 180 queries about 60 pictures")
    assert found.verdict().endswith("p < .001")
    assert all(one.p < 0.001 for one in found.differences)


def test_as_much_lost_as_won_is_no_difference_that_can_be_told(tmp_path: Path) -> None:
    right = np.repeat(np.eye(PICTURES), CAPTIONS, axis=0)
    one, other = right.copy(), right.copy()
    one[:CAPTIONS] *= -1  # A misses the first picture, B the last
    other[-CAPTIONS:] *= -1
    found = compare(read_saved(save(tmp_path / "a", one)), read_saved(save(tmp_path / "b", other)))
    assert found.verdict().startswith("no difference can be told")
    assert (found.wins, found.losses) == (CAPTIONS, CAPTIONS)


def test_better_and_worse_change_places_with_the_runs(
    tmp_path: Path, similarity: np.ndarray
) -> None:
    clean = np.repeat(np.eye(PICTURES), CAPTIONS, axis=0)
    a, b = read_saved(save(tmp_path / "a", similarity)), read_saved(save(tmp_path / "b", clean))
    there, back = compare(a, b), compare(b, a)
    assert there.verdict("recall@1").startswith("B is better")
    assert back.verdict("recall@1").startswith("B is worse")
    assert (there.wins, there.losses) == (back.losses, back.wins)


def test_p_counts_whole_pictures_not_their_captions() -> None:
    """Three pictures, each one better by the same: of 8 signs 2 are as far out, so p is 1/4."""
    groups = tuple(f"{n // 50}.jpg" for n in range(150))
    ids = tuple(str(n) for n in range(150))
    deltas = QueryMetrics(ids, groups, {"recall@1": np.ones(150)}, np.zeros(150))
    assert randomisation_p(deltas)["recall@1"] == pytest.approx(0.25, abs=0.02)


def test_other_galleries_and_queries_are_refused(tmp_path: Path, similarity: np.ndarray) -> None:
    a = read_saved(save(tmp_path / "a", similarity))
    other = read_saved(save(tmp_path / "other", similarity, gallery="h"))
    with pytest.raises(ComparisonError, match="searched different galleries"):
        compare(a, other)
    fewer = save(tmp_path / "fewer", similarity)
    _drop_query(fewer, "0.jpg#0")
    with pytest.raises(ComparisonError, match=r"different queries: query 0\.jpg#0 is in one"):
        compare(a, read_saved(fewer))


def test_a_folder_without_an_evaluation_is_named(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match="holds no evaluation"):
        read_saved(tmp_path)
    (tmp_path / "summary.json").write_text('{"encoder": "e"}')
    with pytest.raises(ComparisonError, match=r"summary\.json is no summary"):
        read_saved(tmp_path)


def test_files_of_two_evaluations_in_one_folder_are_refused(
    tmp_path: Path, similarity: np.ndarray
) -> None:
    mixed = save(tmp_path / "mixed", similarity, encoder="one")
    other = save(tmp_path / "other", similarity, encoder="two")
    (mixed / "per_query.parquet").write_bytes((other / "per_query.parquet").read_bytes())
    with pytest.raises(ComparisonError, match=r"per_query\.parquet is about encoder two"):
        read_saved(mixed)
    lines = (other / "qrels.trec").read_text().splitlines()
    (other / "qrels.trec").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(ComparisonError, match=r"qrels\.trec are about different queries"):
        read_saved(other)


def test_a_damaged_table_is_one_sentence(tmp_path: Path, similarity: np.ndarray) -> None:
    folder = save(tmp_path / "a", similarity)
    (folder / "per_query.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ComparisonError, match=r"per_query\.parquet is no table of an evaluation"):
        read_saved(folder)
    pandas.DataFrame({"query_id": ["q"]}).to_parquet(folder / "per_query.parquet")
    with pytest.raises(ComparisonError, match=r"per_query\.parquet is no table of an evaluation"):
        read_saved(folder)
    (folder / "per_query.parquet").unlink()
    with pytest.raises(ComparisonError, match=r"it has no per_query\.parquet"):
        read_saved(folder)


def _drop_query(folder: Path, query_id: str) -> None:
    lines = (folder / "qrels.trec").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(f"{query_id} ")]
    (folder / "qrels.trec").write_text("\n".join(kept) + "\n")
    table = pandas.read_parquet(folder / "per_query.parquet")
    table[table["query_id"] != query_id].to_parquet(folder / "per_query.parquet", index=False)
