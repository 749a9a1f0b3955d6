"""A map of a library: pictures that look alike lie near one another in the plane.

A sample is laid out by t-SNE; every other picture is placed between its nearest ones of the sample,
so that a hundred thousand take seconds more than a thousand, and pictures that are added later
leave the rest of the map where it was. The parts of the map are named by the words that stand out
in the captions and tags of their pictures. Map and layout are saved in the library's folder.
"""

import json
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scenesearch.runtime.cancel import check_cancelled
from scenesearch.runtime.files import atomic_writer, private_folder
from scenesearch.search.vocabulary import words_in
from scenesearch.store.base import Point
from scenesearch.store.sparse import is_stop_word

Floats: TypeAlias = NDArray[np.float32]

# t-SNE compares every picture of the sample with every other in each step: 2,000 take 20 s.
SAMPLE = 2_000
# L. van der Maaten, G. Hinton (2008) advise 5 to 50; small libraries need less.
PERPLEXITY = 30
STEPS = 400
# Steps in which groups are drawn together, before they spread; and how much.
_GATHERING, _EXAGGERATION = 100, 12.0
# Distances between more components than this are mostly noise, and cost time.
_COMPONENTS = 50
# Of this many nearest ones of the sample, the nearest count most.
_NEIGHBOURS = 3

# Parts of the map and parts of those, at most; points so many a part.
PARTS, PARTS_WITHIN = 12, 5
_A_PART = 8
# More terms of captions and tags than this are not told apart: they come from strangers.
_MOST_TERMS, _MOST_TERMS_OF_ONE, _LONGEST_TERM = 100_000, 64, 40
_TERMS_IN_NAME = 2
# So many terms are tried for a name that no other part has.
_TERMS_TRIED = 12
# A term names a part if so large a share of its pictures have it, and so many times the usual.
_LEAST_SHARE, _LEAST_LIFT = 0.1, 1.4

_FORMAT = 1
# What reading a file raises that is cut off, or that something else has written.
_DAMAGED = (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile)
_MAP, _LAYOUT = "map.npz", "map-layout.npz"

# Says how far the work is: steps done, of all.
Tick = Callable[[int, int], None]


# --- the layout ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Where a sample lies in the plane, by which other pictures are placed.

    `sample` are its coordinates `(n, components)` in the space of `mean` and `directions`,
    `places` those in the plane `(n, 2)`, each between 0 and 1. `fitted_on` is how many pictures
    the library had.
    """

    mean: Floats
    directions: Floats
    sample: Floats
    places: Floats
    fitted_on: int

    def fits(self, count: int, dimension: int) -> bool:
        """Whether it still serves a library of so many pictures: one that has doubled may hold
        what the sample has not seen."""
        return len(self.mean) == dimension and count <= 2 * self.fitted_on

    def place(self, vectors: Floats) -> Floats:
        """Places in the plane for the vectors `(n, dim)`: `(n, 2)`, between 0 and 1."""
        reduced = _float32((vectors - self.mean) @ self.directions)  # (n, components)
        distances = _squared_distances(reduced, self.sample)  # (n, sample)
        count = min(_NEIGHBOURS, len(self.sample))
        near = np.argpartition(distances, count - 1, axis=1)[:, :count]  # (n, neighbours)
        near_by = np.take_along_axis(distances, near, axis=1)
        nearest = near_by.min(axis=1, keepdims=True)
        # A steep weight: between two groups lies nothing.
        weights = ((nearest + 1e-9) / (near_by + 1e-9)) ** 4
        weights /= weights.sum(axis=1, keepdims=True)
        found = (weights[:, :, None] * self.places[near]).sum(axis=1)
        # Without an offset all that share their neighbours would lie in one point.
        one = np.take_along_axis(near, near_by.argmin(axis=1, keepdims=True), axis=1)[:, 0]
        offset = (reduced - self.sample[one]) @ _directions(self.sample.shape[1])
        found += offset * (self._spacing / max(float(np.abs(self.sample).max()), 1e-9))
        return _float32(np.clip(found, 0, 1))

    @property
    def _spacing(self) -> float:
        """About how far apart two neighbours lie in the plane."""
        return 1 / math.sqrt(max(len(self.places), 1))


def fit(vectors: Floats, count: int, tick: Tick = lambda done, total: None) -> Layout:
    """The layout of these vectors `(n, dim)`, a random sample of a library of `count` pictures."""
    mean = vectors.mean(axis=0)
    directions = _principal_directions(vectors - mean, min(_COMPONENTS, vectors.shape[1]))
    reduced = ((vectors - mean) @ directions).astype(np.float32)
    places = tsne(reduced, tick) if len(vectors) >= 5 else reduced[:, :2]
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    low, high = places.min(axis=0), places.max(axis=0)
    # One scale for both axes: the layout's distances mean something.
    scale = max(float((high - low).max()), 1e-9) * 1.04
    centred = (places - (low + high) / 2) / scale + 0.5
    return Layout(mean, directions, reduced, centred.astype(np.float32), count)


def tsne(points: Floats, tick: Tick = lambda done, total: None) -> Floats:
    """t-SNE of points `(n, components)` whose first two components begin it: `(n, 2)`.

    L. van der Maaten, G. Hinton: "Visualizing Data using t-SNE" (2008). Exact, in numpy:
    scikit-learn, whose own can neither be cancelled nor say how far it is, would bring SciPy and
    add 150 MB to the page. `tick` is called after each step, and what it raises ends the work.
    """
    count = len(points)
    near = _nearness(_squared_distances(points, points), min(PERPLEXITY, (count - 1) / 3))
    found = np.zeros((count, 2), np.float32)
    found[:, : points.shape[1]] = points[:, :2]
    found *= 1e-4 / max(float(found[:, 0].std()), 1e-12)
    moved, gains = np.zeros_like(found), np.ones_like(found)
    rate = max(count / _EXAGGERATION / 4, 50.0)
    for step in range(STEPS):
        pull = _EXAGGERATION if step < _GATHERING else 1.0
        closeness = 1 / (1 + _squared_distances(found, found))  # (n, n)
        np.fill_diagonal(closeness, 0)
        force = (pull * near - closeness / closeness.sum()) * closeness
        gradient = 4 * (force.sum(axis=1, keepdims=True) * found - force @ found)
        same_way = np.sign(gradient) == np.sign(moved)
        gains = np.maximum(np.where(same_way, gains * 0.8, gains + 0.2), 0.01)
        moved = (0.5 if step < _GATHERING else 0.8) * moved - rate * gains * gradient
        found = (found + moved).astype(np.float32)
        found -= found.mean(axis=0)
        check_cancelled()
        tick(step + 1, STEPS)
    return found


def _nearness(distances: Floats, perplexity: float) -> Floats:
    """How near the points are to each other, as probabilities of pairs `(n, n)`: each has about
    `perplexity` neighbours, whatever the density around it."""
    count = len(distances)
    wanted = math.log(max(perplexity, 1.01))
    low, high = np.zeros(count), np.full(count, np.inf)
    sharpness = np.full(count, 1 / max(float(distances.mean()), 1e-12))
    near = np.empty_like(distances)
    for _ in range(40):
        near = np.exp(-distances * sharpness[:, None]).astype(np.float32)
        np.fill_diagonal(near, 0)
        sums = np.maximum(near.sum(axis=1), 1e-30)
        entropy = np.log(sums) + sharpness * (distances * near).sum(axis=1) / sums
        near /= sums[:, None]
        too_wide = entropy > wanted
        low, high = np.where(too_wide, sharpness, low), np.where(too_wide, high, sharpness)
        sharpness = np.where(np.isinf(high), sharpness * 2, (low + high) / 2)
        check_cancelled()
    both = near + near.T
    return _float32(np.maximum(both / both.sum(), 1e-12))


def _squared_distances(one: Floats, other: Floats) -> Floats:
    squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :] - 2 * (one @ other.T)
    return _float32(np.maximum(squared, 0))


def _principal_directions(centred: Floats, count: int) -> Floats:
    """The directions `(dim, count)` in which the vectors differ most, each pointing to the side of
    its largest component, so that a map does not flip."""
    # Through the covariance: its size is that of a vector, not of the library.
    exact = centred.astype(np.float64)
    _, directions = np.linalg.eigh(exact.T @ exact)
    chosen = directions[:, ::-1][:, :count]
    largest = np.abs(chosen).argmax(axis=0)
    return _float32(chosen * np.sign(chosen[largest, np.arange(count)]))


def _directions(components: int) -> Floats:
    """Two directions at random, always the same ones."""
    drawn = np.random.default_rng(0).standard_normal((components, 2))
    return _float32(drawn / np.sqrt(components))


def _float32(values: NDArray[Any]) -> Floats:
    return values.astype(np.float32)


# --- parts of the map --------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A part of the map: its name ('' where nothing stands out), its middle, how many pictures it
    has. `within` is the number of the part that it is a part of, None for a large one."""

    name: str
    x: float
    y: float
    count: int
    within: int | None = None


def divide(places: Floats, most: int, *, seed: int = 0) -> NDArray[np.intp]:
    """A number for each of the places `(n, 2)`: k-means into at most so many parts."""
    count = min(most, max(1, len(places) // _A_PART))
    generator = np.random.default_rng(seed)
    # The middles of a sample are those of all, and take no time.
    sample = places[generator.permutation(len(places))[:5_000]]
    middles = sample[:1]
    while len(middles) < count:  # each next one far from the others
        distances = _squared_distances(sample, middles).min(axis=1)
        if not distances.any():
            break
        chosen = generator.choice(len(sample), p=distances / distances.sum())
        middles = np.vstack([middles, sample[chosen]])
    for _ in range(20):
        nearest = _squared_distances(sample, middles).argmin(axis=1)
        middles = np.stack(
            [
                sample[nearest == k].mean(axis=0) if (nearest == k).any() else middles[k]
                for k in range(len(middles))
            ]
        ).astype(np.float32)
    return np.concatenate(
        [
            _squared_distances(places[start : start + 10_000], middles).argmin(axis=1)
            for start in range(0, max(len(places), 1), 10_000)
        ]
    )


class Terms:
    """The words of captions and the tags of pictures, as numbers, in the order of the pictures."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._written: list[str] = []
        self._found: list[NDArray[np.int32]] = []

    def add(self, payload: Mapping[str, Any]) -> None:
        """The terms of the next picture."""
        numbers = []
        for term, written in islice(_terms_of(payload), _MOST_TERMS_OF_ONE):
            number = self._numbers.get(term)
            if number is None and len(self._numbers) < _MOST_TERMS:
                number = self._numbers[term] = len(self._written)
                self._written.append(written)
            if number is not None:
                numbers.append(number)
        self._found.append(np.array(numbers, np.int32))

    def names(self, labels: NDArray[np.intp], count: int, taken: Sequence[str] = ()) -> list[str]:
        """Names for `count` groups of pictures, where `labels` says which is whose: the terms that
        are frequent in a group, and more so than in all; '' where there is none. The first groups
        have those that are `taken` already. None is given twice: the larger group has the better.
        """
        sizes = np.bincount(labels, minlength=count)
        groups = np.repeat(labels, [len(one) for one in self._found])
        terms = np.concatenate([*self._found, np.empty(0, np.int32)])
        names = [*taken, *[""] * (count - len(taken))]
        given = {_key(name) for name in taken}
        all_counts = np.bincount(terms, minlength=len(self._written)).astype(float)
        for group in sorted(range(len(taken), count), key=lambda group: -sizes[group]):
            own = np.bincount(terms[groups == group], minlength=len(self._written))
            for name in self._names(own, all_counts, int(sizes[group]), len(labels)):
                if _key(name) not in given:
                    names[group] = name
                    given.add(_key(name))
                    break
        return names

    def _names(
        self, own: NDArray[Any], all_counts: NDArray[Any], size: int, total: int
    ) -> Iterator[str]:
        """Names for a group, the best first: its two best terms, then the best with one of the
        next, single ones, and at last with one that alone would name nothing."""
        if not size or not own.any():
            return
        share, usual = own / size, np.maximum(all_counts, 1) / total
        lift = share / usual
        # A library of one kind has one part, in which nothing is more frequent than in all.
        least_lift = _LEAST_LIFT if size < total else 1.0
        worth = np.where(
            (share >= _LEAST_SHARE) & (own >= min(2, size)) & (lift >= least_lift),
            share * np.log1p(lift),
            0,
        )
        chosen = self._best(worth)
        yield from map(", ".join, combinations(chosen, _TERMS_IN_NAME))
        yield from chosen
        weak = self._best(np.where((worth == 0) & (lift > 1), share * np.log1p(lift), 0))
        for one, other in product(chosen, weak):
            if not _alike(one, other):
                yield f"{one}, {other}"

    def _best(self, worth: NDArray[Any]) -> list[str]:
        """The terms of the highest worth, one form of each."""
        chosen: list[str] = []
        for number in np.argsort(-worth, kind="stable"):
            if not worth[number] or len(chosen) == _TERMS_TRIED:
                break
            if not any(_alike(self._written[number], other) for other in chosen):
                chosen.append(self._written[number])
        return chosen


def _terms_of(payload: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the picture is described by, each once, with how it is written; tags first."""
    seen = set()
    for tag in _texts(payload.get("tags")):
        if (term := tag.casefold().strip()) and term not in seen and len(term) <= _LONGEST_TERM:
            seen.add(term)
            yield term, " ".join(tag.split())
    for caption in _texts(payload.get("captions")):
        for word in words_in(caption[:1_000]):
            if word not in seen and 1 < len(word) <= _LONGEST_TERM and not is_stop_word(word):
                seen.add(word)
                yield word, word


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _key(name: str) -> tuple[str, ...]:
    """The same for names that say the same: "dog, beach" and "Beach, dog"."""
    return tuple(sorted(name.casefold().split(", ")))


def _alike(one: str, other: str) -> bool:
    """Whether the two are forms of one word, as 'dog' and 'dogs' are."""
    short, long = sorted((one.casefold(), other.casefold()), key=len)
    return long.startswith(short) and len(long) - len(short) <= 2


# --- the map -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LibraryMap:
    """Every picture of a library in the plane.

    `places` `(n, 2)` lie between 0 and 1; `labels` `(n,)` is the smallest part that each picture
    is in. `version` is the store's when it was read, `collection` whose vectors it shows.
    """

    collection: str
    version: str
    ids: list[str]
    places: Floats
    labels: NDArray[np.uint8]
    parts: list[Part]

    def in_part(self, number: int) -> NDArray[np.intp]:
        """The pictures of a part, by their positions."""
        wanted = [n for n, part in enumerate(self.parts) if number in (n, part.within)]
        return np.flatnonzero(np.isin(self.labels, wanted))


def map_of(
    points: Iterable[Point],
    layout: Layout,
    *,
    collection: str,
    version: str,
    tick: Callable[[int], None] = lambda done: None,
) -> LibraryMap:
    """The map of these points, which have vectors, captions and tags, in batches."""
    ids: list[str] = []
    places: list[Floats] = []
    terms = Terms()
    rest = iter(points)
    while batch := [point for point in islice(rest, 1_000) if point.vector is not None]:
        places.append(layout.place(np.stack([p.vector for p in batch if p.vector is not None])))
        for point in batch:
            ids.append(point.image_id)
            terms.add(point.payload)
        tick(len(ids))
    found = np.concatenate(places) if places else np.empty((0, 2), np.float32)
    labels, parts = _parts(found, terms)
    return LibraryMap(collection, version, ids, found, labels, parts)


def _parts(places: Floats, terms: Terms) -> tuple[NDArray[np.uint8], list[Part]]:
    """The large parts, then those within them; and the number of the smallest one for each."""
    if not len(places):
        return np.empty(0, np.uint8), []
    large = divide(places, PARTS)
    count = int(large.max()) + 1
    labels = large.copy()
    within: dict[int, int] = {}
    for part in range(count):
        inside = np.flatnonzero(large == part)
        divided = divide(places[inside], PARTS_WITHIN) if len(inside) else np.empty(0, np.intp)
        if len(inside) and divided.max() > 0:
            first = count + len(within)
            labels[inside] = divided + first
            within |= dict.fromkeys(range(first, first + int(divided.max()) + 1), part)
    names = terms.names(large, count)
    names = terms.names(labels, count + len(within), names)
    parts = []
    for number, name in enumerate(names):
        owner = within.get(number)
        inside = (large if owner is None else labels) == number
        x, y = places[inside].mean(axis=0) if inside.any() else (0.5, 0.5)
        parts.append(Part(name, float(x), float(y), int(inside.sum()), owner))
    return labels.astype(np.uint8), parts


def inside(places: Floats, outline: Sequence[tuple[float, float]]) -> NDArray[np.intp]:
    """The positions of the places `(n, 2)` that lie inside the closed outline."""
    x, y = places[:, 0].astype(np.float64), places[:, 1].astype(np.float64)
    within = np.zeros(len(places), bool)
    for (x0, y0), (x1, y1) in zip(outline, [*outline[1:], *outline[:1]], strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        within ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return np.flatnonzero(within)


# --- kept on disk --------------------------------------------------------------------------------


def save(folder: Path, found: LibraryMap, layout: Layout) -> None:
    """Save both in the folder, in the place of earlier ones."""
    private_folder(folder)
    _write(
        folder / _LAYOUT,
        about={"format": _FORMAT, "collection": found.collection, "fitted_on": layout.fitted_on},
        mean=layout.mean,
        directions=layout.directions,
        sample=layout.sample,
        places=layout.places,
    )
    about = {
        "format": _FORMAT,
        "collection": found.collection,
        "version": found.version,
        "ids": found.ids,
        "parts": [[p.name, p.x, p.y, p.count, p.within] for p in found.parts],
    }
    _write(folder / _MAP, about=about, places=found.places, labels=found.labels)
    for earlier in folder.glob("tsne-*.npy"):  # of versions before this one
        earlier.unlink(missing_ok=True)


def read_layout(folder: Path, collection: str) -> Layout | None:
    """The saved layout of the collection, None where there is none."""
    try:
        about, arrays = _read(folder / _LAYOUT, collection)
        mean, directions, sample, places = (
            arrays[name].astype(np.float32) for name in ("mean", "directions", "sample", "places")
        )
        shapes = (mean.shape[0], sample.shape[1]), (sample.shape[0], 2)
        if (directions.shape, places.shape) != shapes:
            return None
        return Layout(mean, directions, sample, places, int(about["fitted_on"]))
    except _DAMAGED:
        return None


def read_map(folder: Path, collection: str) -> LibraryMap | None:
    """The saved map of the collection, None where there is none."""
    try:
        about, arrays = _read(folder / _MAP, collection)
        ids = [str(one) for one in about["ids"]]
        parts = [Part(*one) for one in about["parts"]]
        places, labels = arrays["places"].astype(np.float32), arrays["labels"].astype(np.uint8)
        if places.shape != (len(ids), 2) or labels.shape != (len(ids),):
            return None
        return LibraryMap(collection, str(about["version"]), ids, places, labels, parts)
    except _DAMAGED:
        return None


def _write(file: Path, about: Mapping[str, Any], **arrays: NDArray[Any]) -> None:
    said = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with atomic_writer(file, private=True) as out:
        np.savez(out, about=said, **arrays)  # type: ignore[arg-type]


def _read(file: Path, collection: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What was written; raises ValueError for another collection's."""
    with np.load(file, allow_pickle=False) as read:
        arrays = {name: read[name] for name in read.files}
    about = json.loads(arrays.pop("about").tobytes())
    if about.get("format") != _FORMAT or about.get("collection") != collection:
        raise ValueError(f"{file} is of another collection")
    return about, arrays
