"""TREC files: round trips, what other tools read, and what is refused."""

from pathlib import Path

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenesearch.evaluation.trec import (
    TrecFileError,
    decode_id,
    encode_id,
    read_qrels,
    write_qrels,
    write_run,
)

ODD_IDS = [
    "my dog.jpg",
    "a\tb\nc.jpg",
    "50%20off.jpg",
    "снег/Hütte 雪.jpg",
    "a.jpg#0",
    "\udcff.jpg",
]


def test_ordinary_ids_stay_as_they_are() -> None:
    assert encode_id("2018/1022454332_6af2c1449a.jpg#0") == "2018/1022454332_6af2c1449a.jpg#0"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_id_survives_as_one_ascii_word(name: str) -> None:
    word = encode_id(name)
    assert word.isascii()
    assert word.split() == [word]
    assert decode_id(word) == name


def test_an_empty_id_is_refused() -> None:
    with pytest.raises(ValueError, match="empty id"):
        encode_id("")


def test_a_run_keeps_odd_ids_and_every_digit(tmp_path: Path) -> None:
    run = {
        query_id: {image_id: 1 / (3 + n) for n, image_id in enumerate(ODD_IDS)}
        for query_id in ODD_IDS
    }
    write_run(tmp_path / "run.trec", run, tag="my encoder")
    lines = (tmp_path / "run.trec").read_text(encoding="ascii").splitlines()
    written: dict[str, dict[str, float]] = {}
    for query_id, _, image_id, _, score, tag in map(str.split, lines):
        written.setdefault(decode_id(query_id), {})[decode_id(image_id)] = float(score)
        assert tag == "my%20encoder"
    assert written == run


def test_qrels_are_read_back_as_written(tmp_path: Path) -> None:
    qrels = {query_id: {ODD_IDS[0]: 3, ODD_IDS[1]: 0} for query_id in ODD_IDS}
    write_qrels(tmp_path / "qrels.trec", qrels)
    assert read_qrels(tmp_path / "qrels.trec") == qrels


def test_a_run_is_written_best_first_with_ties_by_image_id(tmp_path: Path) -> None:
    write_run(tmp_path / "run.trec", {"q 1": {"b": 0.5, "c": 0.75, "a": 0.5}}, tag="lite")
    assert (tmp_path / "run.trec").read_text() == (
        "q%201 Q0 c 1 0.75 lite\nq%201 Q0 a 2 0.5 lite\nq%201 Q0 b 3 0.5 lite\n"
    )


def test_ir_measures_reads_the_files(tmp_path: Path) -> None:
    write_run(tmp_path / "run.trec", {"q 1": {"a b": 0.5, "c": 0.75}}, tag="lite")
    write_qrels(tmp_path / "qrels.trec", {"q 1": {"a b": 1}})
    figures = ir_measures.calc_aggregate(
        [ir_measures.RR],
        list(ir_measures.read_trec_qrels(str(tmp_path / "qrels.trec"))),
        list(ir_measures.read_trec_run(str(tmp_path / "run.trec"))),
    )
    assert figures == {ir_measures.RR: 0.5}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("q1 0 img 0.5", "'0.5' is not a whole grade"),
        ("q1 0 img", "3 columns instead of 4"),
        ("q0 0 img 1", "image img is judged twice for query q0"),
    ],
)
def test_broken_qrels_name_file_and_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "qrels.trec"
    path.write_text(f"q0 0 img 2\r\n{line}\r\n")
    with pytest.raises(TrecFileError, match=r"qrels\.trec, line 2: ") as caught:
        read_qrels(path)
    assert words in str(caught.value)


def test_a_picture_is_no_qrels_file(tmp_path: Path) -> None:
    (tmp_path / "qrels.trec").write_bytes(b"\xff\xd8\xff\xe0 no text")
    with pytest.raises(TrecFileError, match="is not a text file"):
        read_qrels(tmp_path / "qrels.trec")
