"""How fast encoders are on this machine, measured turn about so that drift hits all alike.

compare([of_encoder("lite", OnnxEncoder(folder))])
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from scenesearch.encoder.base import Encoder

BATCHES = (1, 8, 32)
LEAST_S = 0.2  # of one timing; shorter ones are noise

# As long as people's queries are; a batch repeats them.
QUERIES = (
    "a dog running through snow",
    "two children playing on a beach at sunset",
    "a man in a red jacket riding a bicycle down a street",
    "mountains under a cloudy sky",
)


@dataclass(frozen=True)
class Candidate:
    """Something that encodes `n` preprocessed pictures, or `n` texts."""

    name: str
    encode_images: Callable[[int], object]
    encode_texts: Callable[[int], object]


@dataclass(frozen=True)
class Speed:
    """`images_per_s` and `text_ms`, of one whole batch, at one batch size; medians."""

    name: str
    batch: int
    images_per_s: float
    text_ms: float


def of_encoder(name: str, encoder: Encoder) -> Candidate:
    """An encoder without decoding and resizing, which are the same for all."""
    height, width = encoder.info.image_size
    pixels = np.random.default_rng(0).standard_normal((max(BATCHES), 3, height, width), np.float32)
    return Candidate(
        name,
        lambda n: encoder.encode_pixels(pixels[:n]),
        lambda n: encoder.encode_texts(queries(n)),
    )


def queries(count: int) -> list[str]:
    return [QUERIES[n % len(QUERIES)] for n in range(count)]


def compare(
    candidates: Sequence[Candidate],
    *,
    batches: Sequence[int] = BATCHES,
    rounds: int = 5,
    on_round: Callable[[], None] = lambda: None,
) -> list[Speed]:
    """Every candidate at every batch size; `on_round` is called after each of the timings."""
    found = []
    for batch in batches:
        images: dict[str, list[float]] = {one.name: [] for one in candidates}
        texts: dict[str, list[float]] = {one.name: [] for one in candidates}
        for one in candidates:  # loads what is loaded at the first use
            one.encode_images(batch)
            one.encode_texts(batch)
        for _ in range(rounds):
            for one in candidates:
                images[one.name].append(_seconds(one.encode_images, batch))
                texts[one.name].append(_seconds(one.encode_texts, batch))
                on_round()
        found += [
            Speed(one.name, batch, batch / median(images[one.name]), 1000 * median(texts[one.name]))
            for one in candidates
        ]
    return found


def _seconds(encode: Callable[[int], object], batch: int) -> float:
    """Of one call, over as many as fill the least time."""
    calls, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < LEAST_S:
        encode(batch)
        calls += 1
    return spent / calls
