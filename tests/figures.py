"""Figures of docs/search.md and docs/evaluation.md about requests, each printed anew:

    python -m tests.figures [relevance] [hybrid] [subtraction] [copies] [feedback] [long]

over the shared photographs, with the bundled encoder and the embedded store. Without a name, all.
"""

import argparse
import io
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from ingest.pipeline import ingest
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.datasets.task import MATCHING_GRADE, read_crowd, read_expert, texts_of
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.evaluation.calibration import (
    auroc,
    brier_score,
    expected_calibration_error,
)
from scenesearch.pictures.duplicates import distance, perceptual_hash
from scenesearch.pictures.opening import open_image
from scenesearch.search.request import Phrase, Request, Text
from scenesearch.search.searcher import Searcher, shows_from
from scenesearch.store.ask import RESCORED, Ask, Examples, Hybrid
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS
from tests.absence import shared_folder

CUTOFFS = (1, 5, 10)

# What is asked for, and what is not to be there, by words that captions use.
PAIRS = (
    "dog grass, dog water, dog snow, dog beach, dog ball, dog people, child water, child grass, "
    "girl pink, boy ball, man bike, man hat, man dog, woman child, woman sunglasses, "
    "people street, people water, snow man, beach people, mountain snow"
)


class Judged:
    """The 1,000 judged photographs as a library, with their captions and votes."""

    def __init__(self, shared: Path, folder: Path) -> None:
        data = shared / "data"
        self.shared, self.folder = shared, folder
        self.encoder = OnnxEncoder(find_encoder("lite"))
        self.store = EdgeStore(folder / "edge")
        self.pictures = data / "practicum" / "train_images"
        sources = find_sources([self.pictures], roots=Roots())
        ingest(sources, library="judged", encoder=self.encoder, store=self.store)
        self.searcher = Searcher(self.encoder, self.store, "judged")
        points = self.store.scroll("judged", payload=(), with_vectors=True)
        self.vectors = {p.image_id: p.vector for p in points if p.vector is not None}
        self.texts = texts_of(data / "flickr8k" / "captions.tsv")
        self.captions: dict[str, list[str]] = defaultdict(list)
        for query_id, text in self.texts.items():
            image, _, _ = query_id.partition("#")
            if image in self.vectors:
                self.captions[image].append(text)
        judged = data / "practicum"
        # (picture, query) -> votes of yes, votes
        self.votes: dict[tuple[str, str], tuple[int, int]] = {}
        for vote in read_crowd(judged / "CrowdAnnotations.tsv").rows:
            self._count(vote.image, vote.query_id, vote.yes, vote.yes + vote.no)
        for grades in read_expert(judged / "ExpertAnnotations.tsv").rows:
            yes = sum(grade >= MATCHING_GRADE for grade in grades.grades)
            self._count(grades.image, grades.query_id, yes, len(grades.grades))

    def _count(self, image: str, query_id: str, yes: int, votes: int) -> None:
        if image in self.vectors and query_id in self.texts:
            before = self.votes.get((image, query_id), (0, 0))
            self.votes[image, query_id] = before[0] + yes, before[1] + votes

    def relevant(self) -> dict[str, set[str]]:
        """Pictures that most voters found to fit, by query."""
        found: dict[str, set[str]] = defaultdict(set)
        for (image, query_id), (yes, votes) in self.votes.items():
            if yes > votes / 2:
                found[query_id].add(image)
        return found


def words(text: str) -> Request:
    """A request in these words, whatever stands in them."""
    return Request((Text((Phrase(text),)),))


def relevance(judged: Judged) -> Iterator[str]:
    """What a picture's relevance is worth when its place decides it, and when its cosine does."""
    own: list[float] = []
    shown: list[float] = []
    share: list[float] = []
    votes: list[float] = []
    first_ten: list[bool] = []
    by_query: dict[str, list[str]] = defaultdict(list)
    for image, query_id in judged.votes:
        by_query[query_id].append(image)
    for query_id, images in by_query.items():
        request = replace(words(judged.texts[query_id]), min_relevance=0.0, collapse=False)
        hits = judged.searcher.search(request, k=RESCORED).hits
        assert all(one.relevance >= other.relevance for one, other in pairwise(hits))
        ranked = {hit.image_id: hit for hit in hits}
        query = judged.searcher.texts.embed(judged.texts[query_id])
        cosines = np.array([judged.vectors[image] @ query for image in images])
        calibration = judged.searcher.calibration.of(judged.texts[query_id])
        plain = calibration.relevance(cosines, query)
        for image, value in zip(images, plain, strict=True):
            own.append(float(value))
            shown.append(ranked[image].relevance if image in ranked else float(value))
            yes, count = judged.votes[image, query_id]
            share.append(yes / count)
            votes.append(count)
            first_ten.append(image in ranked and ranked[image].rank <= 10)
    yield "| relevance | AUROC | ECE | Brier | of the ten first hits: AUROC | ECE | Brier |"
    yield "|---|---|---|---|---|---|---|"
    columns = [np.array(values) for values in (share, votes)]
    for name, values in (("by its own cosine", own), ("by its place", shown)):
        cells = []
        for rows in (np.ones(len(own), bool), np.array(first_ten)):
            promised, voted, counted = (part[rows] for part in (np.array(values), *columns))
            cells += [
                f"{auroc(voted > 0.5, promised):.4f}",
                f"{expected_calibration_error(promised, voted, counted):.4f}",
                f"{brier_score(promised, voted, counted):.4f}",
            ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield f"{len(own):,} judged pairs, {sum(first_ten):,} of them among ten first hits"


def hybrid(judged: Judged) -> Iterator[str]:
    """Recall of the fifth captions, by what the pictures come with, for three ways to rank."""
    names = sorted(image for image, captions in judged.captions.items() if len(captions) == 5)
    asked = {image: judged.captions[image][4] for image in names}
    vectors = dict(zip(names, judged.searcher.texts.embed_all(list(asked.values())), strict=True))

    def three(image: str) -> list[str]:
        """Words of another caption, as somebody names or tags a picture."""
        content = [word for word in re.findall(r"\w+", judged.captions[image][0]) if len(word) > 3]
        return content[:3]

    libraries: dict[str, Callable[[int, str], tuple[str, Mapping[str, object]]]] = {
        "nothing (`IMG_0001.jpg`)": lambda n, image: (f"IMG_{n:04}.jpg", {}),
        "three words in its file name": lambda n, image: (
            f"{'-'.join([*three(image), str(n)])}.jpg",
            {},
        ),
        "three words as tags": lambda n, image: (f"IMG_{n:04}.jpg", {"tags": three(image)}),
        "another caption": lambda n, image: (
            f"IMG_{n:04}.jpg",
            {"captions": judged.captions[image][:1]},
        ),
        "four other captions": lambda n, image: (
            f"IMG_{n:04}.jpg",
            {"captions": judged.captions[image][:4]},
        ),
        "another caption, every second picture": lambda n, image: (
            f"IMG_{n:04}.jpg",
            {"captions": judged.captions[image][:1] if n % 2 else []},
        ),
    }
    yield "| what each picture has | plain search | hybrid, RRF | hybrid, DBSF |"
    yield "|---|---|---|---|"
    info = judged.encoder.info
    for number, (title, described) in enumerate(libraries.items()):
        name = f"hybrid-{number}"
        spec = CollectionSpec(name, info.name, info.fingerprint, info.dimension, BUILTIN_FIELDS)
        judged.store.create_collection(name, spec)
        ids: dict[str, str] = {}
        points = []
        for n, image in enumerate(names):
            ids[image], payload = described(n, image)
            points.append(Point(ids[image], judged.vectors[image], payload))
        judged.store.upsert(name, points)
        searcher = Searcher(judged.encoder, judged.store, name)
        found: dict[str, list[int]] = defaultdict(list)
        for image, text in asked.items():
            request = replace(words(text), k=10, hybrid=False)
            ways = {
                "plain": searcher.ranking(request),
                "rrf": judged.store.search(
                    name,
                    Ask(vectors[image], limit=10, payload=(), rank_by=Hybrid(text, fusion="rrf")),
                ),
                "dbsf": judged.store.search(
                    name,
                    Ask(vectors[image], limit=10, payload=(), rank_by=Hybrid(text, fusion="dbsf")),
                ),
            }
            for way, hits in ways.items():
                order = [hit.image_id for hit in hits]
                found[way].append(order.index(ids[image]) + 1 if ids[image] in order else 999)
        cells = [
            " / ".join(f"{100 * np.mean(np.array(found[way]) <= k):.1f}" for k in CUTOFFS)
            for way in ("plain", "rrf", "dbsf")
        ]
        yield f"| {title} | {' | '.join(cells)} |"
        judged.store.delete_collection(name)
    yield f"{len(names):,} pictures, one caption of each asked for; Recall@1 / 5 / 10"


def subtraction(judged: Judged) -> Iterator[str]:
    """What the ten first hits show, by their captions, when B is not wanted."""
    pairs = [tuple(pair.split()) for pair in PAIRS.split(", ")]

    def shows(image: str, word: str) -> bool:
        forms = {"people": "people|men|women|man|woman|person|children|boys?|girls?"}
        wanted = re.compile(rf"\b({forms.get(word, word)})(s|es|ren)?\b", re.IGNORECASE)
        return any(wanted.search(caption) for caption in judged.captions[image])

    yield "| request | shows A and not B | shows B |"
    yield "|---|---|---|"
    for form in ("{A}", "{A} without {B}", "{A} - {B}"):
        wanted, unwanted = [], []
        for a, b in pairs:
            text = form.format(A=a, B=b)
            for hit in judged.searcher.search(text, k=10, min_relevance=0.0, hybrid=False).hits:
                unwanted.append(shows(hit.image_id, b))
                wanted.append(shows(hit.image_id, a) and not unwanted[-1])
        yield f"| `{form}` | {np.mean(wanted):.0%} | {np.mean(unwanted):.0%} |"
    yield f"{len(pairs)} pairs: {PAIRS}"
    for without in (" - people", " - people - man - woman - child"):
        alone = [
            shows(hit.image_id, a) and not shows(hit.image_id, "people")
            for a in ("dog", "snow", "street", "mountain")
            for hit in judged.searcher.search(f"{a}{without}", k=10, min_relevance=0.0).hits
        ]
        yield f"of dog, snow, street, mountain{without}: {np.mean(alone):.0%} show it and nobody"
    unwanted = [
        shows(hit.image_id, b)
        for b in sorted({b for _, b in pairs})
        for hit in judged.searcher.search(
            b, k=1000, min_relevance=shows_from(judged.searcher.calibration.of(b))
        ).hits
    ]
    yield (
        f"{np.mean(unwanted):.0%} of {len(unwanted)} pictures that are left out "
        "for a subtracted word show it"
    )


def copies(judged: Judged) -> Iterator[str]:
    """Distances of perceptual hashes: of different photographs, and of one, changed."""
    data = judged.shared / "data"
    files = sorted(judged.pictures.glob("*.jpg"))
    others = [*(data / "practicum" / "test_images").glob("*.jpg")]
    others += [path for path in (data / "open-world" / "images").iterdir() if path.is_file()]
    hashes = [found for path in [*files, *others] if (found := _hash_of(path))]
    bits = np.array([int(one, 16) for one in hashes], np.uint64)
    nearest = min(
        int(np.bitwise_count(bits[n + 1 :] ^ bits[n]).min()) for n in range(len(bits) - 1)
    )
    yield f"nearest two of {len(hashes):,} different photographs: {nearest} bits"
    changed: dict[str, list[int]] = defaultdict(list)
    for path in files[:150]:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        before = perceptual_hash(picture)
        if before is None:
            continue
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=50)
        width, height = picture.size
        margin = (int(width * 0.02), int(height * 0.02))
        variants = {
            "half the size": picture.resize((width // 2, height // 2)),
            "JPEG at quality 50": Image.open(buffer),
            "20 % brighter": ImageEnhance.Brightness(picture).enhance(1.2),
            "cropped by 4 %": picture.crop((*margin, width - margin[0], height - margin[1])),
        }
        for name, variant in variants.items():
            after = perceptual_hash(variant)
            changed[name].append(64 if after is None else distance(before, after))
    for name, distances in changed.items():
        near = sum(one <= 6 for one in distances)
        yield f"{name}: at most {max(distances)} bits, within 6 bits {near} of {len(distances)}"


def _hash_of(path: Path) -> str | None:
    return perceptual_hash(open_image(path, reduce_to=448).image)  # as ingest reads it


def feedback(judged: Judged) -> Iterator[str]:
    """What one hit of the first ten called right, or wrong, does for the other relevant ones."""
    collection = judged.store.resolve("judged")
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def note(way: str, order: list[str], without: str, relevant: set[str]) -> None:
        others = relevant - {without}
        left = [image for image in order if image != without]
        ranks = [n for n, image in enumerate(left, start=1) if image in others]
        precision = sum(seen / rank for seen, rank in enumerate(ranks, start=1)) / len(others)
        found[way].append((sum(rank <= 10 for rank in ranks) / len(others), precision))

    for query_id, relevant in judged.relevant().items():
        request = replace(words(judged.texts[query_id]), min_relevance=0.0, collapse=False)
        query = judged.searcher.texts.embed(judged.texts[query_id])
        plain = [hit.image_id for hit in judged.searcher.search(request, k=100).hits]
        right = next((image for image in plain[:10] if image in relevant), None)
        if right is not None and len(relevant) >= 3:
            note("one right, nothing said", plain, right, relevant)
            for weight in (1, 3, 5, 10):
                hits = judged.store.search(
                    collection,
                    Ask(
                        query,
                        limit=100,
                        rank_by=Examples(right=[judged.vectors[right]], weight=weight),
                    ),
                )
                order = [hit.image_id for hit in hits]
                note(f"one right, the request as {weight} examples", order, right, relevant)
        wrong = next((image for image in plain[:10] if image not in relevant), None)
        if wrong is not None:
            note("one wrong, left out", plain, wrong, relevant)
            hits = judged.store.search(
                collection,
                Ask(query, limit=100, rank_by=Examples(wrong=[judged.vectors[wrong]], weight=5)),
            )
            order = [hit.image_id for hit in hits]
            note("one wrong, pushed away from the request as 5", order, wrong, relevant)
    yield "| feedback | requests | recall@10 of the others | their mAP, first 100 |"
    yield "|---|---|---|---|"
    for name, values in found.items():
        recall, precision = np.mean(values, axis=0)
        yield f"| {name} | {len(values)} | {recall:.3f} | {precision:.3f} |"


def long(judged: Judged) -> Iterator[str]:
    """How often a picture comes first for its five captions in a row, whole and cut."""
    counter = judged.encoder._counter
    context = judged.encoder.info.text.context_length
    asked = {
        image: text
        for image, captions in judged.captions.items()
        if len(counter.encode(text := " ".join(captions)).ids) > context
    }
    first = {"sentence by sentence": 0, "cut at the context's length": 0}
    for image, text in asked.items():
        encoding = counter.encode(text)
        end = encoding.offsets[context - 2][1]  # the end's own token needs a place too
        for name, request in zip(first, (text, text[:end]), strict=True):
            (hit,) = judged.searcher.ranking(replace(words(request), k=1))
            first[name] += hit.image_id == image
    for name, count in first.items():
        yield f"{name}: first in {count / len(asked):.0%}"
    yield f"{len(asked)} descriptions of more than {context} tokens"


FIGURES = {
    "relevance": relevance,
    "hybrid": hybrid,
    "subtraction": subtraction,
    "copies": copies,
    "feedback": feedback,
    "long": long,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FIGURE", help="default: all")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - FIGURES.keys():
        parser.error(f"{', '.join(sorted(unknown))}: one of {', '.join(FIGURES)}")
    shared = shared_folder()
    if shared is None:
        parser.error("the shared photographs are not there (SCENESEARCH_SHARED)")
    with tempfile.TemporaryDirectory() as folder:
        judged = Judged(shared, Path(folder))
        with closing(judged.store):
            for name in arguments.names or FIGURES:
                print(f"\n{name}", flush=True)
                for line in FIGURES[name](judged):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
