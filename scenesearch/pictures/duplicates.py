"""Finds duplicates: pictures with equal content, and near-duplicates that look the same.

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
# The 64 bits are cut into four bands. When two hashes differ by at most 7 bits, one band differs by
# at most one bit. So comparing hashes that share a band, up to one bit, finds every pair.
_BANDS, _BAND_BITS = 4, 16
MOST_DISTANT: Final = 2 * _BANDS - 1

_SIDE, _LOW = 32, 8
# Below this a picture is a plain surface, and its hash would be noise.
_LEAST_CONTRAST = 40.0
_CHUNK = 1 << 16

# The low rows of the discrete cosine transform (type II, as scipy scales it), (8, 32).
_DCT: Final[NDArray[np.float64]] = 2 * np.cos(
    np.pi * np.arange(_LOW)[:, None] * (2 * np.arange(_SIDE)[None] + 1) / (2 * _SIDE)
)


def perceptual_hash(image: Image.Image) -> str | None:
    """16 hexadecimal digits that hardly change when a picture is scaled or compressed again.

    None for a plain surface, which has nothing that could look the same.
    """
    # Reduced by a whole factor first: a third of the time, and at most two bits of difference.
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    pixels = np.asarray(grey, np.float64)  # (32, 32)
    low = _DCT @ pixels @ _DCT.T  # (8, 8)
    bits = (low > np.median(low)).ravel()
    low[0, 0] = 0  # the brightness
    if np.abs(low).max() < _LEAST_CONTRAST * _SIDE:
        return None
    return np.packbits(bits).tobytes().hex()


def distance(a: str, b: str) -> int:
    """In how many of 64 bits two perceptual hashes differ."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


@dataclass(frozen=True)
class HashedPicture:
    """A picture of a library with the hash of its content and, unless it is plain, of its look."""

    image_id: str
    sha256: str
    phash: str | None


def hashed_picture(image_id: str, payload: Mapping[str, object]) -> HashedPicture | None:
    """The hashes of a stored point; None for a payload without a content hash."""
    sha256, phash = payload.get("sha256"), payload.get("phash")
    if not isinstance(sha256, str):
        return None
    is_hash = isinstance(phash, str) and len(phash) == 16
    return HashedPicture(image_id, sha256, str(phash) if is_hash else None)


@dataclass(frozen=True)
class Group:
    """Duplicates: `copies` have the content of `first`; `near` look like it, each with its
    distance."""

    first: str
    copies: tuple[str, ...]
    near: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return 1 + len(self.copies) + len(self.near)


def find_groups(pictures: Sequence[HashedPicture], *, most_distant: int = NEAR) -> list[Group]:
    """Groups of more than one picture, largest first; a picture is in at most one group.

    Each hash joins the first hash (in the given order) that is within `most_distant` bits and has
    itself joined no other, so a group does not drift from look to look. Takes memory for the
    hashes and far less than quadratic time. Raises ValueError for a distance at which it could miss
    pairs.
    """
    if not 0 <= most_distant <= MOST_DISTANT:
        raise ValueError(f"near-duplicates are found up to a distance of {MOST_DISTANT}")
    by_content: dict[str, list[HashedPicture]] = {}
    for picture in pictures:
        by_content.setdefault(picture.sha256, []).append(picture)
    by_look: dict[int, list[list[HashedPicture]]] = {}  # several contents may share a hash
    groups: list[Group] = []
    for same in by_content.values():
        phash = same[0].phash
        if phash is None:
            groups.append(_group([same]))
        else:
            by_look.setdefault(int(phash, 16), []).append(same)
    hashes = np.fromiter(by_look, np.uint64, len(by_look))
    for joined in _joined(hashes, most_distant):
        groups.append(_group([same for at in joined for same in by_look[int(hashes[at])]]))
    return sorted(
        (group for group in groups if len(group) > 1), key=lambda group: (-len(group), group.first)
    )


def _group(contents: Sequence[Sequence[HashedPicture]]) -> Group:
    """A group of pictures; those of one content stand together, the group's first in front."""
    first, *copies = contents[0]
    near = sorted(
        (other.image_id, distance(other.phash, first.phash) if other.phash and first.phash else 0)
        for same in contents[1:]
        for other in same
    )
    return Group(first.image_id, tuple(copy.image_id for copy in copies), tuple(near))


def _joined(hashes: NDArray[np.uint64], most_distant: int) -> Iterator[list[int]]:
    """Positions of hashes that form a group, the first of each before those that join it."""
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
    """Pairs of positions within the distance, the earlier first; some come more than once."""
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
    """Each position against its `counts` candidates from `begins` on in `order`, in chunks."""
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
