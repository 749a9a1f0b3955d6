"""Measures the speed of encoders, taking turns so that drift of the machine affects all equally.

measure_speeds([candidate("lite", OnnxEncoder(folder))])
memory_mb(folder)
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scenesearch.encoder.base import Encoder, EncoderError
from scenesearch.encoder.preprocessing import noise_pixels

BATCHES = (1, 8, 32)
LEAST_S = 0.2  # duration of one timing; shorter ones are noise

# As long as real queries; a batch repeats them.
QUERIES = (
    "a dog running through snow",
    "two children playing on a beach at sunset",
    "a man in a red jacket riding a bicycle down a street",
    "mountains under a cloudy sky",
)


@dataclass(frozen=True)
class Candidate:
    """Something to measure: it encodes `n` preprocessed pictures, or `n` texts."""

    name: str
    encode_images: Callable[[int], object]
    encode_texts: Callable[[int], object]


@dataclass(frozen=True)
class Speed:
    """Medians at one batch size; `text_ms` is the time of one whole batch."""

    name: str
    batch: int
    images_per_s: float
    text_ms: float


def candidate(name: str, encoder: Encoder) -> Candidate:
    """A candidate for an encoder; decoding and resizing, equal for all, are not measured."""
    pixels = noise_pixels(encoder.info.image, max(BATCHES))
    return Candidate(
        name,
        lambda n: encoder.encode_pixels(pixels[:n]),
        lambda n: encoder.encode_texts(sample_queries(n)),
    )


# A process of its own: what one frees, another cannot be told to have taken.
_ENCODES_ONE = """
import sys
from pathlib import Path
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.speed import candidate, peak_memory_mb
before = peak_memory_mb()
one = candidate("", OnnxEncoder(Path(sys.argv[1]), threads=int(sys.argv[2])))
one.encode_images(1)
one.encode_texts(1)
print(peak_memory_mb() - before)
"""


def memory_mb(folder: Path, threads: int) -> float:
    """What an encoder takes of memory to encode a picture and a text; raises EncoderError."""
    done = subprocess.run(  # noqa: S603 - this program, no shell
        [sys.executable, "-c", _ENCODES_ONE, folder, str(threads)], capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it was stopped"])[-1]
        raise EncoderError(f"the memory of {folder} cannot be measured: {reason}")
    return float(done.stdout)


def peak_memory_mb() -> float:
    """The most that this process has had in memory."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3  # bytes there, KB elsewhere


def sample_queries(count: int) -> list[str]:
    return [QUERIES[n % len(QUERIES)] for n in range(count)]


def measure_speeds(
    candidates: Sequence[Candidate],
    *,
    batches: Sequence[int] = BATCHES,
    rounds: int = 5,
    on_round: Callable[[], None] = lambda: None,
) -> list[Speed]:
    """Every candidate at every batch size; `on_round` is called after each timing."""
    found = []
    for batch in batches:
        images: dict[str, list[float]] = {one.name: [] for one in candidates}
        texts: dict[str, list[float]] = {one.name: [] for one in candidates}
        for one in candidates:  # the first use loads the graphs
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
    """Seconds per call, over as many calls as fill the least duration."""
    calls, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < LEAST_S:
        encode(batch)
        calls += 1
    return spent / calls
