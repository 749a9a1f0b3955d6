"""How often something is found that is not there, at the default cut, and what hits are called.

    python -m tests.chance [--cache FOLDER]

- `clip-vectors`: real CLIP vectors. Half of the names that no picture shows are the background, the
  other half is asked for; then the halves change places. tests/data/clip_vectors.json says what
  the pictures show.
- `lite`, as shipped and by contrast as if nobody had judged anything: the absent things of
  `tests.absence` and captions of the pictures, in libraries of 100, 1,000 and 6,400 pictures. The
  absent things that some of the 6,400 show (tests/data/absence_shown.txt) are left out there.
- A million pictures: mixtures of two of those 6,400.
- Words: requests of one and two words made of the captions' nouns. A picture matches if two of its
  captions have them, and does not if none has.

Encoding the pictures takes some minutes; `--cache` keeps their vectors.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.search.background import Background, encode_background, read_descriptions
from scenesearch.search.chance import Cuts, measure_chances
from scenesearch.search.contrast import Contrast
from scenesearch.search.relevance import Calibration, band, by_contrast, read_calibration
from scenesearch.search.vocabulary import words_in
from tests.absence import error_when_equal, shared_folder, suite

Vectors = NDArray[np.float32]

DATA = Path(__file__).parent / "data"
SAMPLE = 1024  # as `Searcher` draws
FAMILIARITY_SAMPLE = 256
SIZES = (100, 1000, 6400)

ONE_WORD = [
    "dog",
    "man",
    "woman",
    "boy",
    "girl",
    "child",
    "baby",
    "people",
    "snow",
    "beach",
    "water",
    "grass",
    "ball",
    "bicycle",
    "car",
    "street",
    "mountain",
    "rock",
    "horse",
    "bird",
    "cat",
    "football",
    "soccer",
    "basketball",
    "baseball",
    "tennis",
    "skateboard",
    "surfer",
    "wave",
    "pool",
    "swimming",
    "boat",
    "kayak",
    "river",
    "lake",
    "ocean",
    "sand",
    "tree",
    "forest",
    "hat",
    "helmet",
    "shirt",
    "jacket",
    "sunglasses",
    "dress",
    "camera",
    "guitar",
    "fountain",
    "bench",
    "swing",
    "slide",
    "trampoline",
    "tent",
    "motorcycle",
    "race",
    "crowd",
    "building",
    "fence",
    "stick",
    "frisbee",
    "toy",
    "tongue",
    "puppy",
    "skier",
    "snowboarder",
    "climber",
    "cyclist",
    "sunset",
    "fire",
    "flower",
    "umbrella",
    "bus",
    "train",
    "airplane",
    "sled",
    "leash",
    "hurdle",
    "stairs",
    "graffiti",
    "statue",
]
TWO_WORDS = [
    "black dog",
    "brown dog",
    "white dog",
    "young boy",
    "little girl",
    "old man",
    "red shirt",
    "blue shirt",
    "snowy mountain",
    "dog running",
    "boy jumping",
    "girl swimming",
    "man climbing",
    "man surfing",
    "soccer player",
    "football player",
    "basketball player",
    "baseball player",
    "tennis player",
    "dirt bike",
    "race car",
    "swimming pool",
    "grassy field",
    "rock climbing",
    "pink dress",
    "green grass",
    "city street",
    "small child",
    "brown horse",
    "water fountain",
]


def log_odds(
    calibration: Calibration, pictures: Vectors, texts: Sequence[str], queries: Vectors
) -> NDArray[np.float64]:
    """Of all pictures for all texts, `(pictures, texts)`, as if all were sentences."""
    cosines = pictures @ queries.T - calibration.surplus(pictures)[:, None]
    lines = [calibration.of(text).line(q) for text, q in zip(texts, queries, strict=True)]
    found: NDArray[np.float64] = np.array([a + b * cosines[:, n] for n, (a, b) in enumerate(lines)])
    return found.T


def best(
    calibration: Calibration, pictures: Vectors, texts: Sequence[str], queries: Vectors
) -> NDArray[np.float64]:
    """The best log odds of each text, on the scale of sentences."""
    found = log_odds(calibration, pictures, texts, queries).max(axis=0)
    own = [calibration.of(text) for text in texts]
    return np.array([(x - one.stretched(0)) / one.gain for x, one in zip(found, own, strict=True)])


def default_cuts(calibration: Calibration, pictures: Vectors, size: int | None = None) -> Cuts:
    """The cuts of a library of these pictures, or of so many like them, in log odds."""
    log_odds = calibration.of_background(pictures[:SAMPLE])
    return measure_chances(log_odds, calibration.background_words).cuts(size or len(pictures))


def above(
    cuts: Cuts,
    calibration: Calibration,
    pictures: Vectors,
    texts: Sequence[str],
    queries: Vectors,
) -> NDArray[np.float64]:
    """How far above its cut the best picture of each text is."""
    own = np.array([cuts.of(calibration.of(text).is_word) for text in texts])
    return best(calibration, pictures, texts, queries) - own


@dataclass(frozen=True)
class Errors:
    """At the default cut: `found` of what is absent, `missed` of what is present."""

    cut: float
    found: float
    missed: float
    when_equal: float

    def __str__(self) -> str:
        return (
            f"found {self.found:6.1%}  missed {self.missed:6.1%}  when equal {self.when_equal:6.1%}"
            f"  cut {1 / (1 + np.exp(-self.cut)):.0%}"
        )


def errors(cut: float, absent: NDArray[np.float64], present: NDArray[np.float64]) -> Errors:
    found, missed = (absent >= cut).mean(), (present < cut).mean()
    return Errors(cut, float(found), float(missed), error_when_equal(absent, present))


def mean_errors(several: Sequence[Errors]) -> Errors:
    rows = [(one.cut, one.found, one.missed, one.when_equal) for one in several]
    return Errors(*(float(figure) for figure in np.mean(rows, axis=0)))


# --- clip-vectors ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Gallery:
    name: str
    pictures: Vectors
    present: list[int]  # rows of the texts
    absent: list[int]


class ClipVectors:
    def __init__(self, shared: Path) -> None:
        stored = np.load(shared / "data" / "clip-vectors" / "vectors.npz")
        self.images, self.texts = (_unit(stored[key]) for key in ("image", "text"))
        self.names = [str(name) for name in stored["names"]]
        self.labels = [str(label) for label in stored["labels"]]
        self.shown: dict[str, Any] = json.loads((DATA / "clip_vectors.json").read_text())

    def galleries(self) -> Iterator[Gallery]:
        cifar, photographs = set(self.shown["cifar"].values()), set(self.shown["photographs"])
        related = {name: set(self.shown[f"{name} related"]) for name in ("cifar", "photographs")}
        yield self._gallery("500 CIFAR, all other names", slice(500), cifar, set())
        yield self._gallery("500 CIFAR, without related", slice(500), cifar, related["cifar"])
        both = related["cifar"] | related["photographs"]
        yield self._gallery("565, without related", slice(None), cifar | photographs, both)
        only = slice(500, None)
        yield self._gallery("65 photographs", only, photographs, related["photographs"])

    def _gallery(self, name: str, rows: slice, present: set[str], related: set[str]) -> Gallery:
        there = [n for n, one in enumerate(self.names) if one in present]
        absent = [n for n, one in enumerate(self.names) if one not in present | related]
        return Gallery(name, self.images[rows], there, absent)

    def halves(self, gallery: Gallery) -> Iterator[tuple[Background, list[int]]]:
        """The background and the names asked for."""
        drawn = np.random.default_rng(0).permutation(gallery.absent).tolist()
        for background in (drawn[::2], drawn[1::2]):
            asked = sorted(set(drawn) - set(background))
            names = tuple(self.names[n] for n in background)
            yield Background(names, self.texts[background]), asked

    def errors(self, gallery: Gallery) -> Errors:
        several = []
        for background, asked in self.halves(gallery):
            calibration = by_contrast(Contrast(background).among(gallery.pictures))
            absent, present = (
                best(calibration, gallery.pictures, [self.names[n] for n in rows], self.texts[rows])
                for rows in (asked, gallery.present)
            )
            cut = default_cuts(calibration, gallery.pictures).other
            several.append(errors(cut, absent, present))
        return mean_errors(several)

    def bands(self) -> tuple[float, float]:
        """Of the CIFAR pictures with the ten names: the share called strong or partial of the pairs
        that match, and of those that do not."""
        gallery = next(self.galleries())
        names = list(self.shown["cifar"].values())
        rows = [self.names.index(name) for name in names]
        classes = np.array([list(self.shown["cifar"]).index(one) for one in self.labels[:500]])
        match = classes[:, None] == np.arange(len(rows))
        shares = []
        for background, _ in self.halves(gallery):
            calibration = by_contrast(Contrast(background).among(gallery.pictures))
            odds = log_odds(calibration, gallery.pictures, names, self.texts[rows])
            called = np.vectorize(lambda x: band(1 / (1 + np.exp(-x))) != "weak")(odds)
            shares.append((called[match].mean(), called[~match].mean()))
        matching, others = np.mean(shares, axis=0)
        return float(matching), float(others)

    def compared(self, gallery: Gallery) -> dict[str, float]:
        """What share of the absent is found where one of ten present names is missed, by how a
        cosine is counted."""
        found: dict[str, list[float]] = {}
        for background, asked in self.halves(gallery):
            queries = self.texts[[*gallery.present, *asked]]
            for way, scores in _ways(gallery.pictures, queries, background.vectors).items():
                highest = scores.max(axis=0)
                present, absent = np.split(highest, [len(gallery.present)])
                threshold = np.sort(present)[len(present) // 10]
                found.setdefault(way, []).append(float((absent >= threshold).mean()))
        return {way: float(np.mean(shares)) for way, shares in found.items()}


def _ways(pictures: Vectors, queries: Vectors, texts: Vectors) -> dict[str, NDArray[np.float64]]:
    c = (pictures @ queries.T).astype(np.float64)
    background = (pictures @ texts.T).astype(np.float64)
    mean, spread = background.mean(axis=1, keepdims=True), background.std(axis=1, keepdims=True)
    best3 = np.sort(background, axis=1)[:, -3:].mean(axis=1, keepdims=True)
    ways = {
        "cosine": c,
        "less the picture's mean": c - mean,
        "less half the mean of its best 3 (CSLS)": c - best3 / 2,
        "z-score per picture": (c - mean) / spread,
        "log-softmax, scale 100": 100 * c - np.log(np.exp(100 * background).sum(axis=1))[:, None],
        "cosine, less half the request's median": c - np.median(c, axis=0) / 2,
    }
    for n in (1, 2, 3, 4, 5):
        ways[f"less mean and {n} spreads"] = c - mean - n * spread
    adopted = (c - mean - 3 * spread) / spread.mean()
    near = np.sort(queries @ texts.T, axis=1)[:, -3:].mean(axis=1)
    centred = (c - mean) / spread.mean()
    ways["3 spreads, less half the request's median"] = adopted - np.median(centred, axis=0) / 2
    ways["3 spreads, and 3 x the request's nearness to the background"] = adopted + 3 * near
    return ways


# --- lite ------------------------------------------------------------------------------------


class Lite:
    """Vectors of the photographs by data set, at most so many of each, and of their captions."""

    def __init__(self, shared: Path, cache: Path | None = None, most: int | None = None) -> None:
        self.encoder = OnnxEncoder(find_encoder("lite"))
        self._texts: dict[str, Vectors] = {}
        data = shared / "data"
        self.ids: dict[str, list[str]] = {}
        self.pictures: dict[str, Vectors] = {}
        for name, folder in (
            ("judged", data / "practicum" / "train_images"),
            ("flickr8k", data / "flickr8k" / "images"),
        ):
            self.ids[name], self.pictures[name] = self._encoded(name, folder, cache, most)
        self.captions: dict[str, list[str]] = {}
        for line in (data / "flickr8k" / "captions.tsv").read_text(encoding="utf-8").splitlines():
            key, text = line.split("\t", 1)
            self.captions.setdefault(key.rpartition("#")[0], []).append(text)
        shown = set((DATA / "absence_shown.txt").read_text(encoding="utf-8").splitlines())
        absent = [*suite("absent"), *suite("absent", "later")]
        self.absent = {"judged": absent, "flickr8k": [t for t in absent if t not in shown]}
        info = self.encoder.info
        self.shipped = read_calibration(info.calibration, info.dimension)
        self.contrast = by_contrast(
            Contrast(encode_background(self.encoder, read_descriptions()), info.scale)
        )

    def _encoded(
        self, name: str, folder: Path, cache: Path | None, most: int | None
    ) -> tuple[list[str], Vectors]:
        kept = None if cache is None else cache / f"{name}-{self.encoder.info.fingerprint}.npz"
        if kept is not None and kept.is_file():
            stored = np.load(kept)
            return [str(one) for one in stored["ids"]], stored["vectors"]
        ids: list[str] = []
        vectors: list[Vectors] = []
        for path in sorted(folder.glob("*.jpg"))[:most]:
            try:
                picture = open_image(path, reduce_to=max(self.encoder.info.image.size)).image
            except ImageError:
                continue
            ids.append(path.name)
            vectors.append(self.encoder.encode_images([picture])[0])
        if kept is not None:
            np.savez(kept, ids=np.array(ids), vectors=np.stack(vectors))
        return ids, np.stack(vectors)

    def texts(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        for batch in (new[n : n + 64] for n in range(0, len(new), 64)):
            self._texts |= zip(batch, self.encoder.encode_texts(batch), strict=True)
        return np.stack([self._texts[text] for text in texts])

    def errors(self, calibration: Calibration, data: str, size: int, seed: int = 0) -> Errors:
        """With `size` of the pictures drawn, and 2,000 of their captions."""
        drawn = np.random.default_rng(seed).permutation(len(self.ids[data]))[:size]
        pictures = self.pictures[data][drawn]
        texts = [text for n in drawn for text in self.captions[self.ids[data][n]]]
        asked = [texts[n] for n in np.random.default_rng(1).permutation(len(texts))[:2000]]
        calibration = calibration.among(pictures[:FAMILIARITY_SAMPLE])
        cuts = default_cuts(calibration, pictures)
        absent, present = (
            above(cuts, calibration, pictures, these, self.texts(these))
            for these in (self.absent[data], asked)
        )
        return replace(errors(0.0, absent, present), cut=cuts.other)

    def million(self, calibration: Calibration, size: int = 1_000_000) -> tuple[float, float]:
        """The share of the absent that is found in a million mixtures of two pictures each, and
        the cut's relevance."""
        own = self.pictures["flickr8k"]
        rng = np.random.default_rng(0)

        def mixtures(n: int) -> Vectors:
            first, second = (own[rng.integers(len(own), size=n)] for _ in range(2))
            share = rng.uniform(0.6, 1, size=(n, 1)).astype(np.float32)
            return _unit(share * first + (1 - share) * second)

        sample = mixtures(SAMPLE)
        calibration = calibration.among(sample[:FAMILIARITY_SAMPLE])
        cuts = default_cuts(calibration, sample, size)
        texts = self.absent["flickr8k"]
        queries = self.texts(texts)
        highest = np.full(len(texts), -np.inf)
        for _ in range(size // 20_000):
            found = above(cuts, calibration, mixtures(20_000), texts, queries)
            highest = np.maximum(highest, found)
        return float((highest >= 0).mean()), float(1 / (1 + np.exp(-cuts.other)))

    def bands(
        self, calibration: Calibration, requests: Sequence[str]
    ) -> dict[str, dict[str, float]]:
        """How matching pictures and others are called: all, and those among the first ten."""
        pictures, ids = self.pictures["judged"], self.ids["judged"]
        calibration = calibration.among(pictures[:FAMILIARITY_SAMPLE])
        odds = log_odds(calibration, pictures, requests, self.texts(requests))
        relevance = 1 / (1 + np.exp(-odds))
        said = np.array([[self._captions_with(one, text) for text in requests] for one in ids])
        first = np.argsort(-relevance, axis=0)[:10]
        ten = np.take_along_axis(relevance, first, axis=0)
        ten_said = np.take_along_axis(said, first, axis=0)
        return {
            "matching": _called(relevance[said >= 2]),
            "others": _called(relevance[said == 0]),
            "matching, of the first ten": _called(ten[ten_said >= 2]),
            "others, of the first ten": _called(ten[ten_said == 0]),
        }

    def _captions_with(self, image_id: str, request: str) -> int:
        """How many captions of the picture have all words of the request, or their plural."""
        wanted = [_stem(word) for word in request.split()]
        captions = ({_stem(word) for word in words_in(text)} for text in self.captions[image_id])
        return sum(all(word in caption for word in wanted) for caption in captions)


def _stem(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word


def _called(relevance: NDArray[np.float64]) -> dict[str, float]:
    words = [band(float(one)) for one in relevance]
    return {word: words.count(word) / max(1, len(words)) for word in ("strong", "partial", "weak")}


def _unit(vectors: NDArray[Any]) -> Vectors:
    vectors = vectors.astype(np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def main() -> None:
    parser = argparse.ArgumentParser(description="The default cut, and what hits are called.")
    parser.add_argument("--cache", type=Path, help="folder that keeps the pictures' vectors")
    arguments = parser.parse_args()
    shared = shared_folder()
    if shared is None:
        parser.error("the shared photographs are not there (SCENESEARCH_SHARED)")
    clip = ClipVectors(shared)
    galleries = list(clip.galleries())
    print("clip-vectors, absent found where one of ten present names is missed:")
    tables = [clip.compared(gallery) for gallery in galleries]
    for way in tables[0]:
        print(f"  {way:<60}", "  ".join(f"{table[way]:6.1%}" for table in tables))
    print("clip-vectors, at the default cut:")
    for gallery in galleries:
        print(f"  {gallery.name:<28} {clip.errors(gallery)}")
    matching, others = clip.bands()
    print(f"  strong or partial: {matching:.1%} of matching pairs, {others:.1%} of others")
    lite = Lite(shared, arguments.cache)
    for name, calibration in (("as shipped", lite.shipped), ("by contrast", lite.contrast)):
        print(f"lite {name}, at the default cut:")
        for data, sizes in (("flickr8k", SIZES), ("judged", SIZES[:2])):
            for size in sizes:
                seeds = 5 if size == 100 else 1
                mean = mean_errors([lite.errors(calibration, data, size, n) for n in range(seeds)])
                print(f"  {size:>5} of {data:<9} {mean}")
        found, cut = lite.million(calibration)
        print(f"  a million mixtures: found {found:.1%}  cut {cut:.0%}")
        for requests in (ONE_WORD, TWO_WORDS):
            print(f"  {'one word' if requests is ONE_WORD else 'two words'}:")
            for which, called in lite.bands(calibration, requests).items():
                shares = "  ".join(f"{word} {share:4.0%}" for word, share in called.items())
                print(f"    {which:<28} {shares}")


if __name__ == "__main__":
    main()
