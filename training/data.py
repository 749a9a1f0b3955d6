"""Captioned pictures for training: where they are, how they are split, what a batch is made of.

Splits are by image: the five captions of a picture are always on one side. Pictures are squashed
whole to the encoder's size, because that is how Flickr8k's training pictures are kept and how the
encoder will see every picture when it serves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from scenesearch.sample.library import DEFAULT_SEED, scenes

MEAN = (0.5, 0.5, 0.5)  # both image bases were trained on pixels from -1 to 1
STD = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Pictures:
    """Pictures with their captions, pixels held squashed: uint8 (n, size, size, 3)."""

    image_ids: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True)
class Domain:
    """Pictures of one kind, split, and how they may be varied.

    `distil`: the image base knew such pictures, and what it said of them is worth keeping.
    """

    name: str
    train: Pictures
    validation: Pictures
    views: int
    smallest_area: float
    distil: bool


@dataclass(frozen=True)
class View:
    """One way of looking at a picture: a box inside the squashed frame, perhaps mirrored."""

    box: tuple[float, float, float, float]
    mirrored: bool
    gain: float

    @classmethod
    def whole(cls, size: int) -> View:
        return cls((0.0, 0.0, float(size), float(size)), False, 1.0)


def random_view(size: int, smallest_area: float, rng: np.random.Generator) -> View:
    area = rng.uniform(smallest_area, 1.0)
    aspect = np.exp(rng.uniform(-0.22, 0.22))
    width = min(1.0, np.sqrt(area * aspect)) * size
    height = min(1.0, np.sqrt(area / aspect)) * size
    left = rng.uniform(0, size - width)
    top = rng.uniform(0, size - height)
    box = (float(left), float(top), float(left + width), float(top + height))
    return View(box, bool(rng.random() < 0.5), float(rng.uniform(0.85, 1.15)))


def render(pixels: np.ndarray, view: View) -> np.ndarray:
    """The view as the tower takes it: float32 (3, size, size)."""
    size = pixels.shape[0]
    if view.box != (0.0, 0.0, float(size), float(size)):
        picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, view.box)
        pixels = np.asarray(picture)
    if view.mirrored:
        pixels = pixels[:, ::-1]
    values = np.minimum(pixels.astype(np.float32) * np.float32(view.gain / 255.0), 1.0)
    normalised = (values - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def squash_picture(picture: Image.Image, size: int) -> np.ndarray:
    """The whole frame at size x size, aspect ratio given up: uint8 (size, size, 3)."""
    squashed = picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(squashed, dtype=np.uint8)


def load_pictures(
    folder: Path, captions: dict[str, list[str]], image_ids: Iterable[str], size: int
) -> tuple[Pictures, list[str]]:
    """Readable pictures that somebody described, and a line for each that was left out."""
    kept: list[str] = []
    pixels: list[np.ndarray] = []
    dropped: list[str] = []
    for image_id in image_ids:
        if not captions.get(image_id):
            dropped.append(f"{image_id}: no caption")
            continue
        try:
            with Image.open(folder / image_id) as picture:
                pixels.append(squash_picture(picture, size))
        except (OSError, SyntaxError) as error:  # PIL raises SyntaxError for some broken PNGs
            dropped.append(f"{image_id}: {error}")
            continue
        kept.append(image_id)
    if not kept:
        raise ValueError(f"{folder}: no readable picture with a caption")
    described = tuple(tuple(captions[image_id]) for image_id in kept)
    return Pictures(tuple(kept), described, np.stack(pixels)), dropped


def read_captions(path: Path) -> dict[str, list[str]]:
    """`<image>#<n>\\t<caption>` lines, by image, in the order of n as written."""
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        key, separator, caption = line.partition("\t")
        image_id, hash_mark, _ = key.rpartition("#")
        if not separator or not hash_mark:
            raise ValueError(f"{path}:{number}: expected '<image>#<n><tab><caption>'")
        captions.setdefault(image_id, []).append(caption.strip())
    return captions


def read_list(path: Path) -> list[str]:
    return [
        line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()
    ]


def flickr8k_domain(
    folder: Path, size: int, views: int, smallest_area: float
) -> tuple[Domain, list[str]]:
    """The 6,000 training and 400 validation pictures; the official test pictures stay unseen."""
    captions = read_captions(folder / "captions.tsv")
    splits, dropped = [], []
    for name in ("train", "dev"):
        image_ids = read_list(folder / f"{name}_images.txt")
        pictures, lost = load_pictures(folder / "images", captions, image_ids, size)
        splits.append(pictures)
        dropped += lost
    return Domain("photos", splits[0], splits[1], views, smallest_area, distil=True), dropped


def drawn_domain(
    seed: int, n_train: int, n_validation: int, size: int, views: int, cache: Path
) -> Domain:
    """Drawn scenes of a library other than the one everybody measures on, kept in `cache`."""
    if seed == DEFAULT_SEED:
        raise ValueError(f"seed {seed} draws the library that is measured on; train on another")
    cache.mkdir(parents=True, exist_ok=True)
    stem = f"{seed}-{n_train + n_validation}-{size}"
    pixels_path, captions_path = cache / f"{stem}.npy", cache / f"{stem}.json"
    if not captions_path.exists():
        pixels, captions = [], []
        for picture, described in scenes(seed, n_train + n_validation):
            pixels.append(squash_picture(picture, size))
            captions.append(described)
        np.save(pixels_path, np.stack(pixels))
        captions_path.write_text(json.dumps(captions), encoding="utf-8")
    pixels = np.load(pixels_path)
    captions = tuple(tuple(five) for five in json.loads(captions_path.read_text(encoding="utf-8")))
    image_ids = [f"{seed}-{index}" for index in range(len(captions))]
    # Every scene is drawn on its own, so any split is by image.
    train, validation = (
        Pictures(tuple(image_ids[part]), captions[part], pixels[part])
        for part in (slice(None, n_train), slice(n_train, None))
    )
    # A crop would cut off what the caption counts or places, so drawings keep nearly all of theirs.
    return Domain("drawn", train, validation, views, 0.85, distil=False)


def split_by_image(
    image_ids: Sequence[str], validation_share: float, seed: int
) -> tuple[list[str], list[str]]:
    """(train, validation): a picture's side depends on its id and the seed alone.

    Adding pictures later moves none of those already there.
    """
    train: list[str] = []
    validation: list[str] = []
    for image_id in image_ids:
        digest = hashlib.sha256(f"{seed}:{image_id}".encode()).digest()
        position = int.from_bytes(digest[:8], "big") / 2**64
        (validation if position < validation_share else train).append(image_id)
    return train, validation


def fingerprint(parts: Iterable[Pictures]) -> str:
    """Changes when any picture, caption or their order does."""
    digest = hashlib.sha256()
    for pictures in parts:
        for image_id, captions in zip(pictures.image_ids, pictures.captions, strict=True):
            digest.update("\0".join((image_id, *captions, "\1")).encode())
        digest.update(np.ascontiguousarray(pictures.pixels).data)
    return digest.hexdigest()[:16]


_MIRROR = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def mirror_words(caption: str) -> str:
    """A caption of the mirrored picture: left and right change places."""
    return " ".join(_MIRROR.get(word, word) for word in caption.split(" "))


def drop_words(ids: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
    """Some inner tokens left out; the first and last, [CLS] and [SEP], always stay."""
    inner = [token for token in ids[1:-1] if rng.random() >= share]
    return [ids[0], *(inner or ids[1:-1]), ids[-1]]


def pad(rows: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(input_ids, attention_mask), int64 (rows, longest)."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Token ids, cut to `longest` with the closing token kept."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    return [row if len(row) <= longest else [*row[: longest - 1], row[-1]] for row in rows]


def batches_by_domain(
    sizes: Sequence[int], batch: int, rng: np.random.Generator
) -> Iterator[tuple[int, np.ndarray]]:
    """(domain, rows) once through every domain, each batch from one of them, in mixed order.

    A drawing is told from a photograph at a glance, so a mixed batch would teach less: negatives
    from the other domain are free.
    """
    pieces: list[tuple[int, np.ndarray]] = []
    for domain, size in enumerate(sizes):
        order = rng.permutation(size)
        whole = max(1, size // batch)
        pieces += [(domain, rows) for rows in np.array_split(order, whole)]
    for index in rng.permutation(len(pieces)):
        yield pieces[index]
