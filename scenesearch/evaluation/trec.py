"""Runs and qrels as TREC files, which trec_eval, ir_measures and others read.

These files separate columns by blanks, but image ids are paths. So in an id everything that is not
plain printable ASCII is percent-encoded (`my dog.jpg` -> `my%20dog.jpg`), and decoded when read.
"""

from pathlib import Path
from urllib.parse import quote, unquote

from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.metrics import Qrels, Run, ranking

_PLAIN = "/#:@!$&'()*+,;=?[]{}|^`<>\\\""


class TrecFileError(SceneSearchError):
    """The file is not a TREC qrels file; the message names file and line."""


def encode_id(name: str) -> str:
    """The id as one ASCII word without blanks; raises ValueError for an empty one."""
    if not name:
        raise ValueError("an empty id cannot be written to a TREC file")
    return quote(name, safe=_PLAIN, errors="surrogateescape")


def decode_id(word: str) -> str:
    """The id that `encode_id` made this word from."""
    return unquote(word, errors="surrogateescape")


def write_run(path: Path, run: Run, *, tag: str) -> None:
    """Write `query Q0 image rank score tag` lines, best first, ties by image id.

    Scores are written to the last digit, so that a reader gets the same ranking. Tools that break
    ties in their own way (trec_eval: by id, descending) may rank tied images differently.
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


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """The grades of a TREC qrels file; raises TrecFileError naming file and line."""
    qrels: dict[str, dict[str, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise TrecFileError(f"{path} is not a text file") from None
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        if len(words) != 4:
            raise TrecFileError(
                f"{where}: {len(words)} columns instead of 4, is this a TREC qrels file?"
            )
        query, _, image, written = words
        try:
            grade = int(written)
        except ValueError:
            raise TrecFileError(f"{where}: {written!r} is not a whole grade") from None
        grades = qrels.setdefault(decode_id(query), {})
        if decode_id(image) in grades:
            raise TrecFileError(f"{where}: image {image} is judged twice for query {query}")
        grades[decode_id(image)] = grade
    return qrels
