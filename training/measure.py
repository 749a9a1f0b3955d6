"""Puts calibration and scores into an exported encoder folder, measured on its ONNX graphs.

Recall is of the clean protocol: nothing measured on was trained or selected on, except the
calibration, which is fitted on the judgments and reported cross-fitted by picture and query.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scenesearch.datasets.drawn import DEFAULT_SEED, scenes
from scenesearch.datasets.queries import read_queries
from scenesearch.datasets.task import read_crowd, read_expert, read_test_queries
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.evaluation.human_agreement import kendall_tau
from training.calibrate import calibrate_encoder
from training.data import read_captions, read_list
from training.export import write_manifest

DRAWN = 300

# Of .3 and .5 the better on the 400 dev pictures (docs/evaluation.md).
HUBNESS = 0.5


def finish_folder(folder: Path, data: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """Adds what can be measured with the data that is there; what is not there is left out."""
    encoder = OnnxEncoder(folder)
    scores: dict[str, Any] = {"drawn-300": drawn_scores(encoder)}
    log(f"drawn-300: {scores['drawn-300']}")
    manifest = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    if (data / "open-world").is_dir():
        scores["open-world"] = open_world_scores(encoder, data / "open-world")
        log(f"open-world: {scores['open-world']}")
    if (data / "practicum").is_dir():
        scores["practicum-test"] = practicum_scores(encoder, data / "practicum")
        log(f"practicum-test: {scores['practicum-test']}")
    if (data / "practicum").is_dir() and (data / "flickr8k").is_dir():
        captions = read_captions(data / "flickr8k" / "captions.tsv")
        image_ids = read_list(data / "flickr8k" / "test_images.txt")
        pictures = data / "practicum" / "train_images"
        images = encode_files(encoder, [pictures / image_id for image_id in image_ids])
        texts = encode_texts(encoder, [c for i in image_ids for c in captions[i]])
        owners = np.repeat(np.arange(len(image_ids)), [len(captions[i]) for i in image_ids])
        scores["flickr8k-1k"] = recall_scores(texts @ images.T, owners)
        log(f"flickr8k-1k: {scores['flickr8k-1k']}")
        starts = np.cumsum([0, *(len(captions[i]) for i in image_ids)])
        row_of = {image_id: row for row, image_id in enumerate(image_ids)}

        def cosine(image_id: str, query_id: str) -> float:
            owner, _, number = query_id.rpartition("#")
            text = texts[starts[row_of[owner]] + int(number)]
            return float(images[row_of[image_id]] @ text)

        judgments = data / "practicum"
        agreement = human_agreement(judgments, cosine, captions)
        scores.update(agreement)
        log(f"agreement: {agreement}")
    manifest["scores"] = scores
    write_manifest(folder, manifest)
    if (data / "practicum").is_dir():
        calibrate_on_judgments(folder, data, log)
    return scores


def calibrate_on_judgments(folder: Path, data: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """Relevance from the task's judgments; the training captions are what is known.

    python -c "from pathlib import Path; from training.measure import calibrate_on_judgments as c
    c(Path('scenesearch/models/lite'), Path('DATA'), print)"
    """
    texts_file, known = data / "flickr8k" / "captions.tsv", []
    if texts_file.is_file():
        captions = read_captions(texts_file)
        trained_on = read_list(data / "flickr8k" / "train_images.txt")
        known = [text for image_id in trained_on for text in captions.get(image_id, ())]
    return calibrate_encoder(
        folder,
        data / "practicum",
        log,
        captions=texts_file if texts_file.is_file() else None,
        known=known,
        hubness=HUBNESS,
    )


def encode_files(encoder: OnnxEncoder, paths: Iterable[Path]) -> np.ndarray:
    def pictures() -> Iterable[Image.Image]:
        for path in paths:
            with Image.open(path) as picture:
                yield picture.convert("RGB")

    return encode_pictures(encoder, pictures())


def encode_pictures(encoder: OnnxEncoder, pictures: Iterable[Image.Image]) -> np.ndarray:
    rows, batch = [], []
    for picture in pictures:
        batch.append(encoder.preprocess(picture))
        if len(batch) == 16:
            rows.append(encoder.encode_pixels(np.stack(batch)))
            batch = []
    if batch:
        rows.append(encoder.encode_pixels(np.stack(batch)))
    return np.concatenate(rows)


def encode_texts(encoder: OnnxEncoder, texts: Sequence[str]) -> np.ndarray:
    return np.concatenate(
        [encoder.encode_texts(texts[n : n + 64]) for n in range(0, len(texts), 64)]
    )


def recall_scores(similarity: np.ndarray, owners: np.ndarray) -> dict[str, Any]:
    """Percent of queries (rows) that find their one picture; a tie counts against the query."""
    own = similarity[np.arange(len(owners)), owners][:, None]
    rank = (similarity >= own).sum(axis=1)
    found = {f"recall@{k}": _percent(rank <= k) for k in (1, 5, 10)}
    return {"gallery": similarity.shape[1], "queries": len(owners), **found}


def drawn_scores(encoder: OnnxEncoder) -> dict[str, Any]:
    drawn = list(scenes(DEFAULT_SEED, DRAWN))
    images = encode_pictures(encoder, (picture for picture, _ in drawn))
    texts = encode_texts(encoder, [caption for _, five in drawn for caption in five])
    owners = np.repeat(np.arange(DRAWN), [len(five) for _, five in drawn])
    return recall_scores(texts @ images.T, owners)


def practicum_scores(encoder: OnnxEncoder, folder: Path) -> dict[str, Any]:
    queries = read_test_queries(folder / "test_queries.csv").rows
    names = sorted({query.image for query in queries})
    images = encode_files(encoder, [folder / "test_images" / name for name in names])
    texts = encode_texts(encoder, [query.query_text for query in queries])
    owners = np.array([names.index(query.image) for query in queries])
    return recall_scores(texts @ images.T, owners)


def open_world_scores(encoder: OnnxEncoder, folder: Path) -> dict[str, Any]:
    """Success@k: any relevant picture among the first k."""
    queries = read_queries(folder / "queries.tsv").queries
    paths = sorted(path for path in (folder / "images").iterdir() if path.suffix == ".jpg")
    images = encode_files(encoder, paths)
    texts = encode_texts(encoder, [query.text for query in queries])
    order = np.argsort(-(texts @ images.T), axis=1, kind="stable")
    hits = np.array(
        [
            [paths[n].name in query.relevant for n in ranked]
            for ranked, query in zip(order, queries, strict=True)
        ]
    )
    found = {f"success@{k}": _percent(hits[:, :k].any(axis=1)) for k in (1, 5, 10)}
    return {"gallery": len(paths), "queries": len(queries), **found}


def human_agreement(
    folder: Path, cosine: Callable[[str, str], float], captions: dict[str, list[str]]
) -> dict[str, float]:
    """Kendall's taus with the judgments, counted as the CLIPScore reference does."""
    expert_scores, expert_grades, crowd_scores, crowd_shares = [], [], [], []
    for crowd in read_crowd(folder / "CrowdAnnotations.tsv").rows:
        crowd_scores.append(cosine(crowd.image, crowd.query_id))
        crowd_shares.append(crowd.share)
    for expert in read_expert(folder / "ExpertAnnotations.tsv").rows:
        owner, _, number = expert.query_id.rpartition("#")
        if captions[owner][int(number)] not in captions[expert.image]:
            score = cosine(expert.image, expert.query_id)
            expert_scores += [score] * len(expert.grades)
            expert_grades += expert.grades
    expert_tau = kendall_tau(np.array(expert_scores), np.array(expert_grades))
    crowd_tau = kendall_tau(np.array(crowd_scores), np.array(crowd_shares))
    return {
        "expert_tau_c": round(100 * expert_tau.c, 1),
        "crowd_tau_b": round(100 * crowd_tau.b, 1),
    }


def _percent(flags: np.ndarray) -> float:
    return round(100 * float(flags.mean()), 1)
