"""Calibrates and scores an exported encoder folder, using its ONNX graphs.

Scores are those of `scenesearch evaluate`: every query is searched through the store, like a user's
query, with the hubness that the calibration declares. Nothing in these sets was used to train.
Steps were selected by the galleries named `dev`; the calibration is fitted on the judgments of the
1,000 test pictures and on the captions of those galleries.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scenesearch.datasets.queries import Query, read_queries
from scenesearch.datasets.task import (
    CAPTIONS,
    read_captions,
    read_crowd,
    read_expert,
    texts_of,
)
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.evaluation.agreement import measure_agreement
from scenesearch.evaluation.evaluate import evaluate
from scenesearch.sample.library import DEFAULT_SEED, scenes
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from training.calibrate import calibrate_encoder
from training.corpus import Example, listed_examples, read_list, train_list
from training.export import write_manifest

DRAWN = 300

# The photographs that the recipe trains on; people have judged the first ones.
JUDGED = "flickr8k"
LISTED = (JUDGED, "web", "coco")

# Of .3, .5 and .7 the best on the dev pictures (docs/evaluation.md).
HUBNESS = 0.3

# Of .15 to .4 the best on the requests that were written first (docs/evaluation.md).
RARITY = 0.3

Named = Iterable[tuple[str, Image.Image]]


def calibrate_and_score(folder: Path, data: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """Calibrates, and measures on the data sets that `data` has."""
    if (data / "practicum").is_dir():
        calibrate_on_judgments(folder, data, log)
    return score_folder(folder, data, log)


def score_folder(folder: Path, data: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """Only the scores, of a folder that is calibrated.

    python -c "from pathlib import Path; from training.measure import score_folder as s
    s(Path('scenesearch/models/lite'), Path('DATA'), print)"
    """
    encoder = OnnxEncoder(folder)
    scores: dict[str, Any] = {}

    def record(name: str, found: dict[str, Any]) -> None:
        scores[name] = found
        log(f"{name}: {found}")

    drawn = [(f"{n:03}.png", *scene) for n, scene in enumerate(scenes(DEFAULT_SEED, DRAWN))]
    asked: Sequence[Query] = [
        Query(f"{name}#{n}", caption, (name,))
        for name, _, five in drawn
        for n, caption in enumerate(five)
    ]
    with temporary_library(encoder, ((name, picture) for name, picture, _ in drawn)) as store:
        record("drawn-300", search_and_score(encoder, store, asked, "recall"))
    if (data / "open-world").is_dir():
        place = data / "open-world"
        with temporary_library(encoder, files(sorted((place / "images").glob("*.jpg")))) as store:
            asked = read_queries(place / "queries.tsv").queries
            record("open-world", search_and_score(encoder, store, asked, "success"))
    if (data / "practicum").is_dir():
        place = data / "practicum"
        with temporary_library(
            encoder, files(sorted((place / "test_images").glob("*.jpg")))
        ) as store:
            asked = read_queries(place / "test_queries.csv").queries
            record("practicum-test", search_and_score(encoder, store, asked, "recall"))
    galleries: dict[str, list[Example]] = {}
    for name, example in photographs(data, log):
        if example.validates and name != JUDGED:
            galleries.setdefault(example.gallery, []).append(example)
    for gallery, examples in galleries.items():
        with temporary_library(encoder, files(example.path for example in examples)) as store:
            asked = [
                Query(f"{example.image_id}#{n}", caption, (example.image_id,))
                for example in examples
                for n, caption in enumerate(example.captions)
            ]
            record(gallery, search_and_score(encoder, store, asked, "recall"))
    if (data / "practicum").is_dir() and (data / "flickr8k").is_dir():
        judged, captions = data / "practicum", data / "flickr8k" / "captions.tsv"
        names = read_list(data / "flickr8k" / "test_images.txt")
        pictures = files(judged / "train_images" / name for name in names)
        with temporary_library(encoder, pictures) as store:
            asked = [
                Query(row.query_id, row.text, (row.image,))
                for row in read_captions(captions).rows
                if row.image in set(names)
            ]
            record("flickr8k-1k", search_and_score(encoder, store, asked, "recall"))
            agreement = measure_agreement(
                store=store,
                library=LIBRARY,
                encoder=encoder,
                texts=texts_of(captions),
                expert=read_expert(judged / "ExpertAnnotations.tsv").rows,
                crowd=read_crowd(judged / "CrowdAnnotations.tsv").rows,
            )
        for name in ("expert_tau_c", "crowd_tau_b"):
            scores[name] = round(100 * agreement.figures[name], 1)
        log(f"agreement: {scores['expert_tau_c']}, {scores['crowd_tau_b']}")
    manifest = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    manifest["scores"] = scores
    write_manifest(folder, manifest)
    return scores


def calibrate_on_judgments(folder: Path, data: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """Relevance from the task's judgments and from captions of other photographs that were not
    trained on; the training captions are what is known.

    python -c "from pathlib import Path; from training.measure import calibrate_on_judgments as c
    c(Path('scenesearch/models/lite'), Path('DATA'), print)"
    """
    known: list[str] = []
    described: list[tuple[Path, tuple[str, ...]]] = []
    for name, example in photographs(data, log):
        if not example.validates:
            known += example.captions
        elif name != JUDGED:
            described.append((example.path, example.captions))
    captions = data / JUDGED / CAPTIONS
    return calibrate_encoder(
        folder,
        data / "practicum",
        log,
        captions=captions if captions.is_file() else None,
        known=known,
        described=described,
        hubness=HUBNESS,
        rarity=RARITY,
    )


def photographs(data: Path, log: Callable[[str], None]) -> Iterator[tuple[str, Example]]:
    """The recipe's photographs that are there, with the name of their folder."""
    for name in LISTED:
        if (listed := train_list(data / name)) is not None:
            for example in listed_examples(data / name, listed, 0, log):
                yield name, example


LIBRARY = "measured"
_BATCH = 16


@contextmanager
def temporary_library(encoder: OnnxEncoder, pictures: Named) -> Iterator[EdgeStore]:
    """A store whose collection `LIBRARY` holds these pictures by their names."""
    info = encoder.info
    with (
        tempfile.TemporaryDirectory(prefix="scenesearch-") as place,
        closing(EdgeStore(Path(place))) as store,
    ):
        spec = CollectionSpec(LIBRARY, info.name, info.fingerprint, info.dimension, fields=())
        store.create_collection(LIBRARY, spec)
        names: list[str] = []
        pixels: list[np.ndarray] = []
        for name, picture in pictures:
            names.append(name)
            pixels.append(encoder.preprocess(picture))
            if len(names) == _BATCH:
                _add(store, encoder, names, pixels)
                names, pixels = [], []
        if names:
            _add(store, encoder, names, pixels)
        yield store


def _add(
    store: EdgeStore, encoder: OnnxEncoder, names: Sequence[str], pixels: Sequence[np.ndarray]
) -> None:
    vectors = encoder.encode_pixels(np.stack(pixels))
    store.upsert(
        LIBRARY, [Point(name, vector, {}) for name, vector in zip(names, vectors, strict=True)]
    )


def files(paths: Iterable[Path]) -> Named:
    """Pictures under their file names."""
    for path in paths:
        with Image.open(path) as picture:
            yield path.name, picture.convert("RGB")


def search_and_score(
    encoder: OnnxEncoder, store: EdgeStore, queries: Sequence[Query], metric: str
) -> dict[str, Any]:
    """Percent of `metric` (recall or success) at 1, 5 and 10, with gallery and queries."""
    found = evaluate(queries, store=store, library=LIBRARY, encoder=encoder)
    return {
        "gallery": found.gallery,
        "queries": found.query_count,
        **{f"{metric}@{k}": round(100 * found.metrics[f"{metric}@{k}"], 1) for k in (1, 5, 10)},
    }
