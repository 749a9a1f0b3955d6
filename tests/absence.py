"""How often something is found that is not there, and nothing where something is.

    python -m tests.absence [--json FILE]

asks 1,000 photographs of the shared data for things that are certainly not among them
(`tests/data/absence.tsv`, checked against their captions and by looking at what was found), and for
things that are: 500 captions of their own, and short names of things that their captions mention.
What calibration does was chosen on the absent things written first; those written later chose
nothing.
The open world's 65 photographs are asked for their own 35 queries and for the same absent things.
A request is found something when its most relevant picture reaches the threshold.
"""

import argparse
import csv
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.pipeline import IngestOptions, ingest
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.search.searcher import Searcher
from scenesearch.store.edge import EdgeStore

SUITE = Path(__file__).parent / "data" / "absence.tsv"
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


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


def curves(shared: Path, folder: Path) -> dict[str, NDArray[np.float64]]:
    """Best relevances of each set of requests, over the real photographs."""
    encoder = OnnxEncoder(find_encoder("lite"))
    data = shared / "data"
    with closing(EdgeStore(folder / "edge")) as store:

        def library(name: str, pictures: Path) -> Searcher:
            ingest(
                find_sources([pictures], roots=Roots()),
                library=name,
                encoder=encoder,
                store=store,
                options=IngestOptions(),
            )
            return Searcher(encoder, store, name)

        judged = library("judged", data / "practicum" / "train_images")
        world = library("world", data / "open-world" / "images")
        absent, later = suite("absent"), suite("absent", "later")
        return {
            "absent": best_relevances(judged, absent),
            "absent, later": best_relevances(judged, later),
            "captions": best_relevances(judged, captions(shared, 500)),
            "short names": best_relevances(judged, suite("present")),
            "open world, absent": best_relevances(world, absent),
            "open world, absent, later": best_relevances(world, later),
            "open world": best_relevances(world, open_world(shared)),
        }


def captions(shared: Path, number: int) -> list[str]:
    """Captions of the judged pictures, drawn with a fixed seed."""
    flickr = shared / "data" / "flickr8k"
    of = set((flickr / "test_images.txt").read_text(encoding="utf-8").split())
    lines = (flickr / "captions.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t", 1) for line in lines]
    texts = [text for key, text in rows if key.rpartition("#")[0] in of]
    drawn = np.random.default_rng(0).permutation(len(texts))[:number]
    return [texts[n] for n in drawn]


def open_world(shared: Path) -> list[str]:
    queries = shared / "data" / "open-world" / "queries.tsv"
    with queries.open(encoding="utf-8", newline="") as file:
        return [row["query_text"] for row in csv.DictReader(file, delimiter="\t")]


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


def main() -> None:
    parser = argparse.ArgumentParser(description="False 'found' and false 'nothing' of lite.")
    parser.add_argument("--json", type=Path, help="also write the best relevances")
    arguments = parser.parse_args()
    shared = shared_folder()
    if shared is None:
        parser.error("the shared photographs are not there (SCENESEARCH_SHARED)")
    with tempfile.TemporaryDirectory() as folder:
        best = curves(shared, Path(folder))
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
    if arguments.json:
        lists = {name: values.tolist() for name, values in best.items()}
        arguments.json.write_text(json.dumps(lists, indent=1) + "\n")


if __name__ == "__main__":
    main()
