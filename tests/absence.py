"""How often something is found that is not there, and nothing where something is.

    python -m tests.absence [--encoder FOLDER] [--cache FOLDER] [--json FILE]

asks 1,000 photographs of the shared data for things that are certainly not among them
(`tests/data/absence.tsv`, checked against their captions and by looking at what was found), and for
things that are: 500 captions of their own, and short names of things that their captions mention.
What calibration does was chosen on the absent things written first; those written later chose
nothing.
The open world's 65 photographs are asked for their own 35 queries and for the same absent things.
A request is found something when its most relevant picture reaches the threshold.

At the default cut, as a user searches, 999 pictures of the web are asked for 150 things that are
among them and 150 that are not (`tests/data/absence_web.tsv`). All pictures were looked at for
that, and their captions read, before any encoder was asked. Each third is single words, names of
two words, and scenes; an absent thing is near if some picture shows something like it, far
otherwise. The open world is asked for its own again.

Encoding the pictures takes some minutes; `--cache` keeps them for each encoder.
"""

import argparse
import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.pipeline import ingest
from ingest.sources.find import LISTED, find_sources
from ingest.sources.roots import Roots
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.search.searcher import Searcher
from scenesearch.store.edge import EdgeStore

DATA = Path(__file__).parent / "data"
SUITE = DATA / "absence.tsv"
WEB_SUITE = DATA / "absence_web.tsv"
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


# What the shapes of requests are called in the table.
SHAPES = {"word": "one word", "name": "two words", "scene": "scenes"}


@dataclass(frozen=True)
class Asked:
    """A request for a thing that `pictures` show; for one that is absent, these are none."""

    text: str
    shape: str = ""
    distance: str = ""
    pictures: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answered:
    """What a search at the default cut said: whether any picture reached the cut, whether one that
    shows the thing did, and the first picture with its relevance."""

    asked: Asked
    found: bool
    right: bool
    first: str
    relevance: float


def shared_folder() -> Path | None:
    """The shared data beside the project, None where there is none."""
    root = Path(__file__).parent.parent
    shared = Path(os.environ.get("SCENESEARCH_SHARED", root.parent / "shared"))
    return shared if (shared / "data").is_dir() else None


def suite(kind: str, written: str = "first") -> list[str]:
    """The suite's queries of a kind, 'absent' or 'present', written 'first' or 'later'."""
    with SUITE.open(encoding="utf-8", newline="") as file:
        return [
            row["query_text"]
            for row in csv.DictReader(file, delimiter="\t")
            if (row["is"], row["written"]) == (kind, written)
        ]


def best_relevances(searcher: Searcher, texts: Iterable[str]) -> NDArray[np.float64]:
    """The highest relevance for each text, which is the first hit's, on the scale of sentences:
    that of a single word is stretched, and the cut with it."""
    return np.array([_best(searcher, text) for text in texts])


def _best(searcher: Searcher, text: str) -> float:
    hits = searcher.search(text, k=1, min_relevance=0.0).hits
    if not hits or not hits[0].relevance:
        return 0.0
    calibration = searcher.calibration.of(text)
    log_odds = math.log(hits[0].relevance / (1 - hits[0].relevance))
    return 1 / (1 + math.exp(-(log_odds - calibration.stretched(0)) / calibration.gain))


def library(
    name: str, pictures: Iterable[Path], encoder: OnnxEncoder, store: EdgeStore
) -> Searcher:
    """Searches these pictures, which are encoded where the store has not got them yet."""
    paths = io.BytesIO("\n".join(map(str, pictures)).encode())
    sources = find_sources([LISTED], roots=Roots(), listed=paths)
    ingest(sources, library=name, encoder=encoder, store=store)
    return Searcher(encoder, store, name)


def judged_library(shared: Path, encoder: OnnxEncoder, store: EdgeStore) -> Searcher:
    folder = shared / "data" / "practicum" / "train_images"
    return library("judged", sorted(folder.iterdir()), encoder, store)


def world_library(shared: Path, encoder: OnnxEncoder, store: EdgeStore) -> Searcher:
    folder = shared / "data" / "open-world" / "images"
    return library("world", sorted(folder.iterdir()), encoder, store)


def has_web(shared: Path) -> bool:
    return (shared / "data" / "web" / "dev.txt").is_file()


def web_library(shared: Path, encoder: OnnxEncoder, store: EdgeStore) -> Searcher:
    web = shared / "data" / "web"
    names = (web / "dev.txt").read_text(encoding="utf-8").split()
    return library("web", [web / "images" / name for name in names], encoder, store)


# --- at any threshold ------------------------------------------------------------------------


def curves(shared: Path, encoder: OnnxEncoder, store: EdgeStore) -> dict[str, NDArray[np.float64]]:
    """Best relevances of each set of requests, over the real photographs."""
    judged = judged_library(shared, encoder, store)
    world = world_library(shared, encoder, store)
    absent, later = suite("absent"), suite("absent", "later")
    best = {
        "absent": best_relevances(judged, absent),
        "absent, later": best_relevances(judged, later),
        "captions": best_relevances(judged, captions(shared, 500)),
        "short names": best_relevances(judged, suite("present")),
        "open world, absent": best_relevances(world, absent),
        "open world, absent, later": best_relevances(world, later),
        "open world": best_relevances(world, [one.text for one in open_world(shared)]),
    }
    if has_web(shared):
        web = web_library(shared, encoder, store)
        for name, present in (("web, absent", False), ("web", True)):
            texts = [one.text for one in web_suite() if bool(one.pictures) == present]
            best[name] = best_relevances(web, texts)
    return best


def captions(shared: Path, number: int) -> list[str]:
    """Captions of the judged pictures, drawn with a fixed seed."""
    flickr = shared / "data" / "flickr8k"
    of = set((flickr / "test_images.txt").read_text(encoding="utf-8").split())
    lines = (flickr / "captions.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t", 1) for line in lines]
    texts = [text for key, text in rows if key.rpartition("#")[0] in of]
    drawn = np.random.default_rng(0).permutation(len(texts))[:number]
    return [texts[n] for n in drawn]


def open_world(shared: Path) -> list[Asked]:
    """The open world's own queries."""
    queries = shared / "data" / "open-world" / "queries.tsv"
    with queries.open(encoding="utf-8", newline="") as file:
        return [
            Asked(row["query_text"], pictures=frozenset(row["images"].split(",")))
            for row in csv.DictReader(file, delimiter="\t")
        ]


def error_when_equal(absent: NDArray[np.float64], present: NDArray[np.float64]) -> float:
    """Both errors at the threshold where they are nearest each other, their mean."""
    thresholds = np.unique(np.concatenate([absent, present]))
    found = (absent[:, None] >= thresholds).mean(axis=0)
    nothing = (present[:, None] < thresholds).mean(axis=0)
    best = int(np.abs(found - nothing).argmin())
    return float((found[best] + nothing[best]) / 2)


def table(best: Mapping[str, NDArray[np.float64]], thresholds: Sequence[float]) -> list[str]:
    """The curve: what share is found of the absent, and nothing of the present."""
    rows = ["| threshold | " + " | ".join(best) + " |", "|---" * (len(best) + 1) + "|"]
    for threshold in thresholds:
        shares = [
            (values >= threshold).mean() if "absent" in name else (values < threshold).mean()
            for name, values in best.items()
        ]
        rows.append(f"| {threshold:.2f} | " + " | ".join(f"{s:.0%}" for s in shares) + " |")
    return rows


# --- at the default cut ----------------------------------------------------------------------


def web_suite() -> list[Asked]:
    """The requests over the web pictures."""
    with WEB_SUITE.open(encoding="utf-8", newline="") as file:
        return [
            Asked(
                row["query_text"],
                row["shape"],
                row["distance"],
                frozenset(filter(None, row["pictures"].split(","))),
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]


def answer(searcher: Searcher, asked: Asked, pictures: int) -> Answered:
    """Asks as the command and the page do, for all that is above the cut among so many pictures."""
    result = searcher.search(asked.text, k=pictures, default_cut=True, collapse=True)
    above = {
        image_id.rpartition("/")[2]
        for hit in result.hits
        if hit.relevance is not None and hit.relevance >= result.min_relevance
        for image_id in (hit.image_id, *hit.duplicates)
    }
    first = (*result.hits, *result.partial)[0]
    return Answered(
        asked,
        found=bool(above),
        right=bool(above & asked.pictures),
        first=first.image_id,
        relevance=first.relevance or 0.0,
    )


def interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.96
    middle = hits + z * z / 2
    half = z * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return max(0.0, (middle - half) / (n + z * z)), min(1.0, (middle + half) / (n + z * z))


def errors_table(answers: Sequence[Answered]) -> list[str]:
    """What is found of the absent things, and missed of the present ones, by kind of request."""
    rows = [
        "| requests | absent | found | present | nothing found | the right one not found |",
        "|---|---|---|---|---|---|",
    ]
    kinds: dict[str, list[Answered]] = {
        name: [one for one in answers if one.asked.shape == shape] for shape, name in SHAPES.items()
    }
    for distance in ("near", "far"):
        kinds[distance] = [one for one in answers if one.asked.distance == distance]
    kinds["all"] = list(answers)
    for kind, of_kind in kinds.items():
        absent = [one.found for one in of_kind if not one.asked.pictures]
        present = [one for one in of_kind if one.asked.pictures]
        cells = [
            *_counted(absent),
            *_counted([not one.found for one in present]),
            *_counted([not one.right for one in present])[1:],
        ]
        if of_kind:
            rows.append(f"| {kind} | " + " | ".join(cells) + " |")
    return rows


def _counted(hits: Sequence[bool]) -> tuple[str, str]:
    if not hits:
        return "", ""
    low, high = interval(sum(hits), len(hits))
    share = f"{np.mean(hits):.1%} ({low * 100:.0f}-{high * 100:.0f})"
    return str(len(hits)), share


def main() -> None:
    parser = argparse.ArgumentParser(description="False 'found' and false 'nothing' of an encoder.")
    parser.add_argument("--encoder", type=Path, help="its folder (default: lite's)")
    parser.add_argument("--cache", type=Path, help="folder that keeps the encoded pictures")
    parser.add_argument("--json", type=Path, help="also write what each request found")
    arguments = parser.parse_args()
    shared = shared_folder()
    if shared is None:
        parser.error("the shared photographs are not there (SCENESEARCH_SHARED)")
    encoder = OnnxEncoder(arguments.encoder or find_encoder("lite"))
    with tempfile.TemporaryDirectory() as temporary:
        cache = arguments.cache or Path(temporary)
        with closing(EdgeStore(cache / encoder.info.fingerprint)) as store:
            document = report(shared, encoder, store)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


def report(shared: Path, encoder: OnnxEncoder, store: EdgeStore) -> dict[str, Any]:
    """Prints all figures; gives what each request found."""
    best = curves(shared, encoder, store)
    print("\n".join(table(best, THRESHOLDS)))
    for name, against in (
        ("captions", "absent"),
        ("short names", "absent"),
        ("open world", "open world, absent"),
    ):
        first, later = (
            error_when_equal(best[absent], best[name]) for absent in (against, f"{against}, later")
        )
        print(f"error when equal, {name}: {first:.1%}; of what was written later {later:.1%}")
    if has_web(shared):
        print(f"error when equal, web: {error_when_equal(best['web, absent'], best['web']):.1%}")
    document: dict[str, Any] = {name: values.tolist() for name, values in best.items()}

    absent = [Asked(text) for text in (*suite("absent"), *suite("absent", "later"))]
    sets = {"open world": (world_library(shared, encoder, store), [*absent, *open_world(shared)])}
    if has_web(shared):
        sets["web"] = (web_library(shared, encoder, store), web_suite())
    else:
        print("the web pictures are not among the shared data: nothing is asked of them")
    for name, (searcher, requests) in sets.items():
        pictures = store.count(searcher.library)
        answers = [answer(searcher, asked, pictures) for asked in requests]
        cut = searcher.default_cut()
        print(f"\n{name}, {pictures} pictures, at the default cut ({cut:.0%} for a sentence):")
        print("\n".join(errors_table(answers)))
        document[f"{name}, default cut"] = [
            asdict(one) | {"asked": one.asked.text, "present": bool(one.asked.pictures)}
            for one in answers
        ]
    return document


if __name__ == "__main__":
    main()
