"""Which of several copies of a picture is the best one, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

ORDER: Final = (
    "the most pixels, then the largest file, then the most metadata, then the shortest name, "
    "then the first by name"
)

# What a person misses in a copy that lost it.
_METADATA: Final = (
    *("taken", "taken_at", "camera", "lens", "exposure_s", "aperture", "iso", "focal_length_mm"),
    *("location", "title", "rating", "favourite"),
)
_LISTS: Final = ("captions", "tags", "people")


@dataclass(frozen=True)
class Quality:
    """What copies are compared by."""

    image_id: str
    width: int
    height: int
    size_bytes: int
    metadata: int

    @classmethod
    def of(cls, image_id: str, payload: Mapping[str, Any]) -> "Quality":
        told = sum(payload.get(name) is not None for name in _METADATA)
        told += sum(len(payload.get(name) or ()) for name in _LISTS)
        width, height, size = (int(payload.get(n) or 0) for n in ("width", "height", "size_bytes"))
        return cls(image_id, width, height, size, told)

    @property
    def key(self) -> tuple[Any, ...]:
        """The best has the smallest."""
        pixels = self.width * self.height
        return -pixels, -self.size_bytes, -self.metadata, len(self.image_id), self.image_id


def best_first(copies: Sequence[Quality]) -> list[Quality]:
    return sorted(copies, key=lambda one: one.key)


def why_best(best: Quality, other: Quality) -> str:
    """What the best has over another copy: the first of the order in which they differ."""
    if best.width * best.height != other.width * other.height:
        return f"more pixels: {best.width} x {best.height}, not {other.width} x {other.height}"
    if best.size_bytes != other.size_bytes:
        return f"the larger file: {best.size_bytes:,} bytes, not {other.size_bytes:,}"
    if best.metadata != other.metadata:
        return f"more metadata: {best.metadata} values, not {other.metadata}"
    if len(best.image_id) != len(other.image_id):
        return "the shorter name, all else is equal"
    return "the first by name, all else is equal"
