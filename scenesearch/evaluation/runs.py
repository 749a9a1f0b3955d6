"""Runs and qrels as TREC files, which trec_eval, ir_measures and others read.

These files separate columns by blanks, and image ids are paths: whatever is not plain printable
ASCII is percent-encoded in an id (`my dog.jpg` -> `my%20dog.jpg`) and decoded when read.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.metrics import Qrels, Run, ranking

_PLAIN = "/#:@!$&'()*+,;=?[]{}|^`<>\\\""


class RunFileError(SceneSearchError):
    """The file is not a TREC run or qrels; the message names file and line."""


def encode_id(name: str) -> str:
    """The id as one blank-free ASCII word; raises ValueError for an empty one."""
    if not name:
        raise ValueError("an empty id cannot be written to a TREC file")
    return quote(name, safe=_PLAIN, errors="surrogateescape")


def decode_id(word: str) -> str:
    """The id behind `encode_id`'s word."""
    return unquote(word, errors="surrogateescape")


def write_run(path: Path, run: Run, *, tag: str) -> None:
    """Write `query Q0 image rank score tag` lines, best first, ties by image id.

    Scores are written to the last digit, so that reading them back ranks alike. Tools that break
    ties their own way (trec_eval: by id, descending) may rank tied images differently.
    """
    word = encode_id(tag)
    words: dict[str, str] = {}  # each image is written for thousands of queries
    with path.open("w", encoding="ascii", newline="\n") as file:
        for query_id, scores in run.items():
            query = encode_id(query_id)
            ranked = ranking(scores)
            for image_id in ranked:
                if image_id not in words:
                    words[image_id] = encode_id(image_id)
            lines = (
                f"{query} Q0 {words[image_id]} {rank} {float(scores[image_id])!r} {word}\n"
                for rank, image_id in enumerate(ranked, start=1)
            )
            file.write("".join(lines))


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write `query 0 image grade` lines."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        for query_id, grades in qrels.items():
            for image_id, grade in grades.items():
                file.write(f"{encode_id(query_id)} 0 {encode_id(image_id)} {grade}\n")


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """The scores of a TREC run file; raises RunFileError naming file and line."""
    run: dict[str, dict[str, float]] = {}
    for where, (query, _, image, _, written, _) in _rows(path, columns=6):
        try:
            score = float(written)
        except ValueError:
            raise RunFileError(f"{where}: {written!r} is not a score") from None
        if not math.isfinite(score):
            raise RunFileError(f"{where}: {written!r} is not a score that can be ranked")
        scores = run.setdefault(decode_id(query), {})
        if decode_id(image) in scores:
            raise RunFileError(f"{where}: image {image} is ranked twice for query {query}")
        scores[decode_id(image)] = score
    return run


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """The grades of a TREC qrels file; raises RunFileError naming file and line."""
    qrels: dict[str, dict[str, int]] = {}
    for where, (query, _, image, written) in _rows(path, columns=4):
        try:
            grade = int(written)
        except ValueError:
            raise RunFileError(f"{where}: {written!r} is not a whole grade") from None
        grades = qrels.setdefault(decode_id(query), {})
        if decode_id(image) in grades:
            raise RunFileError(f"{where}: image {image} is judged twice for query {query}")
        grades[decode_id(image)] = grade
    return qrels


def _rows(path: Path, *, columns: int) -> Iterator[tuple[str, list[str]]]:
    """`file, line n` and the words of every line that is not blank."""
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                words = line.split()
                if not words:
                    continue
                if len(words) != columns:
                    raise RunFileError(
                        f"{path}, line {number}: {len(words)} columns instead of {columns}, "
                        f"is this a TREC {'run' if columns == 6 else 'qrels'} file?"
                    )
                yield f"{path}, line {number}", words
        except UnicodeDecodeError:
            raise RunFileError(f"{path} is not a text file") from None
