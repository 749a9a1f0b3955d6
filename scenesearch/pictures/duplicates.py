"""Pictures that are the same: by content exactly, by look nearly.

The perceptual hash is imagehash's `phash` (the signs of a picture's lowest frequencies), computed
here with numpy alone: imagehash would bring scipy, 100 MB for one small transform.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Of 64 bits. Other sizes, compressions and brightness of one photograph differ by 0-6, small crops
# by up to 8, any two of 1,165 different photographs by 12 and more (`tests.figures copies`).
NEAR: Final = 6
# The hash's 64 bits in so many bands: of two hashes at a distance of up to 7, one band differs by
# at most one bit, so that comparing those that share a band but for a bit finds every pair.
_BANDS, _BAND_BITS = 4, 16
MOST_DISTANT: Final = 2 * _BANDS - 1

_SIDE, _LOW = 32, 8
# Below this a picture is a plain surface, whose hash would be its noise.
_LEAST_CONTRAST = 40.0
_CHUNK = 1 << 16


def _cosines() -> NDArray[np.float64]:
    """The low rows of the discrete cosine transform (type II, as scipy scales it)."""
    rows, columns = np.arange(_LOW)[:, None], np.arange(_SIDE)[None]
    cosines: NDArray[np.float64] = 2 * np.cos(np.pi * rows * (2 * columns + 1) / (2 * _SIDE))
    return cosines  # (8, 32)


_DCT = _cosines()


def perceptual_hash(image: Image.Image) -> str | None:
    """16 hexadecimal digits that hardly change when a picture is scaled or compressed again.

    None for a plain surface: there is nothing in it that could look the same.
    """
    # Reduced by a whole factor first: a third of the time, and at most two bits of difference.
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    pixels = np.asarray(grey, np.float64)  # (32, 32)
    low = _DCT @ pixels @ _DCT.T  # (8, 8)
    bits = (low > np.median(low)).ravel()
    low[0, 0] = 0  # how bright it is
    if np.abs(low).max() < _LEAST_CONTRAST * _SIDE:
        return None
    return np.packbits(bits).tobytes().hex()


def distance(a: str, b: str) -> int:
    """In how many of 64 bits two perceptual hashes differ."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


@dataclass(frozen=True)
class Look:
    """A picture of a library by its content and its look, where it has one."""

    image_id: str
    sha256: str
    phash: str | None


@dataclass(frozen=True)
class Group:
    """Pictures that are the same; `copies` have the content of the first, `near` only its look
    (each with its distance)."""

    first: str
    copies: tuple[str, ...]
    near: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return 1 + len(self.copies) + len(self.near)


def find_groups(looks: Sequence[Look], *, most_distant: int = NEAR) -> list[Group]:
    """Groups of more than one picture, largest first; a picture is in one group at most.

    Each hash joins the first one (in the order given) within `most_distant` bits that is itself
    the first of a group, so that no group drifts from look to look. Takes memory for the hashes
    and far less than quadratic time; raises ValueError for a distance that it cannot promise.
    """
    if not 0 <= most_distant <= MOST_DISTANT:
        raise ValueError(f"near-duplicates are found up to a distance of {MOST_DISTANT}")
    by_content: dict[str, list[int]] = {}
    for position, look in enumerate(looks):
        by_content.setdefault(look.sha256, []).append(position)
    by_look: dict[int, list[list[int]]] = {}  # several contents may share a hash
    plain: list[list[int]] = []
    for same in by_content.values():
        phash = looks[same[0]].phash
        if phash is None:
            plain.append(same)
        else:
            by_look.setdefault(int(phash, 16), []).append(same)
    hashes = np.fromiter(by_look, np.uint64, len(by_look))
    found = [_group(looks, [same], None) for same in plain]
    for joined in _stars(hashes, most_distant):
        contents = [same for at in joined for same in by_look[int(hashes[at])]]
        found.append(_group(looks, contents, int(hashes[joined[0]])))
    groups = [group for group in found if len(group) > 1]
    return sorted(groups, key=lambda group: (-len(group), group.first))


def _group(looks: Sequence[Look], contents: Sequence[Sequence[int]], phash: int | None) -> Group:
    first, *copies = contents[0]
    near = []
    for same in contents[1:]:
        for at in same:
            own = looks[at].phash
            near.append(
                (looks[at].image_id, (int(own, 16) ^ phash).bit_count() if own and phash else 0)
            )
    return Group(
        looks[first].image_id, tuple(looks[at].image_id for at in copies), tuple(sorted(near))
    )


def _stars(hashes: NDArray[np.uint64], most_distant: int) -> Iterator[list[int]]:
    """Positions of hashes that belong together, the first of each before those that join it."""
    near: dict[int, list[int]] = {}
    for earlier, later in _pairs(hashes, most_distant):
        for a, b in zip(earlier.tolist(), later.tolist(), strict=True):
            near.setdefault(a, []).append(b)
    taken = bytearray(len(hashes))
    for at in range(len(hashes)):
        if not taken[at]:
            joined = [at]
            for other in sorted(set(near.get(at, ()))):
                if not taken[other]:
                    taken[other] = True
                    joined.append(other)
            yield joined


def _pairs(
    hashes: NDArray[np.uint64], most_distant: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of positions, the earlier first, within the distance; some come more than once."""
    flips = [0, *(1 << bit for bit in range(_BAND_BITS))]
    for band in range(_BANDS):
        shifted = hashes >> np.uint64(band * _BAND_BITS)
        keys = (shifted & np.uint64((1 << _BAND_BITS) - 1)).astype(np.intp)
        order = np.argsort(keys, kind="stable")
        # Where in `order` the positions of each key begin and, one further, end.
        bounds = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << _BAND_BITS))])
        for flip in flips:
            begins, ends = bounds[keys ^ flip], bounds[(keys ^ flip) + 1]
            yield from _compared(hashes, order, begins, ends - begins, most_distant)


def _compared(
    hashes: NDArray[np.uint64],
    order: NDArray[np.intp],
    begins: NDArray[np.intp],
    counts: NDArray[np.intp],
    most_distant: int,
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Of each position the `counts` candidates from `begins` on in `order`, chunk by chunk."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(hashes):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _CHUNK, "right")))
        some = counts[start:stop]
        total = int(some.sum())
        if total:
            left = np.repeat(np.arange(start, stop), some)
            within = np.arange(total) - np.repeat(np.cumsum(some) - some, some)
            right = order[np.repeat(begins[start:stop], some) + within]
            is_pair = left < right
            left, right = left[is_pair], right[is_pair]
            close = np.bitwise_count(hashes[left] ^ hashes[right]) <= most_distant
            if close.any():
                yield left[close], right[close]
        start = stop


def look_of(image_id: str, payload: Mapping[str, object]) -> Look | None:
    """A stored point's look; None for a payload without a content hash."""
    sha256, phash = payload.get("sha256"), payload.get("phash")
    if not isinstance(sha256, str):
        return None
    return Look(image_id, sha256, phash if isinstance(phash, str) and len(phash) == 16 else None)
