"""One picture on its way to the encoder: it is checked, opened, described and made into pixels.

Nothing here knows the store. What the library holds of a picture comes with it, so that the same
work can be done in threads of this process or on other machines.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingest.payload import (
    METADATA_VERSION,
    described_payload,
    file_payload,
    picture_payload,
)
from ingest.sidecar import described_by, sidecars_of, version_of
from scenesearch.encoder.base import Encoder
from scenesearch.home.rejects import Reject
from scenesearch.pictures.duplicates import perceptual_hash
from scenesearch.pictures.opening import ImageError, OpenedImage, open_image, out_of_memory
from scenesearch.pictures.originals import OriginalError
from scenesearch.pictures.records import ImageRecord
from scenesearch.pictures.thumbnails import thumbnail_path, write_thumbnail
from scenesearch.runtime.retry import RetryPolicy, retry
from scenesearch.store.description import descriptions_of, differing
from scenesearch.store.written import text_of

# For a lost connection or a file still being written; short, because a worker waits meanwhile.
_READS = RetryPolicy(deadline_s=30, tries=4, first_pause_s=0.5)

# A megabyte or two, if each has long captions.
_MOST_SEEN = 256
_NO_PIXELS = Image.new("RGB", (1, 1))


@dataclass(frozen=True)
class Candidate:
    """A picture with what the library knows of it: its point's payload, its last reject; `number`
    is its place in the run."""

    record: ImageRecord
    known: Mapping[str, Any] | None = None
    earlier: Reject | None = None
    number: int = 0


@dataclass(frozen=True)
class Unchanged:
    """The library holds the picture as it is; `was_reject` names a row that no longer holds."""

    was_reject: str | None = None


@dataclass(frozen=True)
class Changed:
    """A new or changed picture, yet to be opened; what its file and its manifest say."""

    candidate: Candidate
    from_file: dict[str, Any]
    described: dict[str, Any]

    def reject(self, error: ImageError | OriginalError) -> Reject:
        return Reject(
            str(self.candidate.record.original),
            str(error),
            error.transient,
            image_id=self.candidate.record.image_id,
            size_bytes=self.from_file.get("size_bytes"),
            modified=_age(self.from_file),
            described=self.described,
        )


@dataclass(frozen=True)
class DecodedPicture:
    """An opened picture; no `pixels`, `(3, height, width)`, where its content is in the library.

    `retries` counts the reads that were repeated; `notes` are what its metadata say and cannot be.
    `held` is the content that the library has under this name so far, '' for none; `described` what
    the run's source says of the picture.
    """

    image_id: str
    payload: dict[str, Any]
    pixels: NDArray[np.float32] | None
    retries: int = 0
    notes: tuple[str, ...] = ()
    held: str = ""
    described: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return str(self.payload["sha256"])

    def light(self) -> "DecodedPicture":
        """Without its pixels, which are the largest part by far."""
        return replace(self, pixels=None)

    def not_encoded(self) -> Reject:
        """The reject of a picture that the encoder had no memory for; the next run tries again."""
        return Reject(
            str(self.payload["path"]),
            str(out_of_memory()),
            transient=True,
            image_id=self.image_id,
            size_bytes=self.payload.get("size_bytes"),
            modified=_age(self.payload),
        )


def embeddings(
    encoder: Encoder, pictures: Sequence[DecodedPicture]
) -> list[NDArray[np.float32] | None]:
    """The vectors of opened pictures, each `(dimension,)`.

    None for a picture that the memory is not enough for even alone.
    """
    if not pictures:
        return []
    try:
        pixels = np.stack([p.pixels for p in pictures if p.pixels is not None])
        return list(encoder.encode_pixels(pixels))
    except MemoryError:
        if len(pictures) == 1:
            return [None]
        return [vector for picture in pictures for vector in embeddings(encoder, [picture])]


def longest_side_needed(encoder: Encoder) -> int:
    """Pixels a side that a picture is decoded with.

    A JPEG is decoded reduced, but with twice what encoder and thumbnail need, so that embeddings
    differ from those of the full picture by no more than rounding.
    """
    return 2 * max(encoder.info.image.longest_side, 160)


class SeenContents:
    """The contents that this run opened last, without their pixels: further copies of them are not
    decoded again. Thread-safe."""

    def __init__(self) -> None:
        self._of: dict[str, _Seen] = {}

    def get(self, sha256: str, number: int) -> "_Seen | None":
        """For the picture of this number: what an earlier one has given, which is encoded first."""
        found = self._of.get(sha256)
        return found if found is not None and found.number < number else None

    def add(self, opened: OpenedImage, phash: str | None, number: int) -> None:
        self._of[opened.sha256] = _Seen(replace(opened, image=_NO_PIXELS), phash, number)
        for oldest in list(self._of)[:-_MOST_SEEN]:
            self._of.pop(oldest, None)


@dataclass(frozen=True)
class _Seen:
    opened: OpenedImage
    phash: str | None
    number: int


@dataclass(frozen=True)
class PictureReader:
    """Checks, opens and preprocesses pictures for one encoder; thread-safe, and can be pickled.

    With `seen`, a further copy of a content comes without pixels: a reader in the same process has
    given them, and whoever encodes them keeps the vector.
    """

    encoder: Encoder
    thumbnails_dir: Path | None = None
    max_megapixels: float = 200
    retry_rejects: bool = False
    seen: SeenContents | None = None

    def check(self, candidate: Candidate) -> Unchanged | Reject | Changed:
        """Whether the picture must be opened; only its size and age are read."""
        record, earlier = candidate.record, candidate.earlier
        described = described_payload(record)
        try:
            from_file = file_payload(record.original, record.original.state())
        except OriginalError as error:
            return Changed(candidate, {}, described).reject(error)
        from_file["metadata_version"] = METADATA_VERSION
        if beside := version_of(sidecars_of(record.original)):
            from_file["sidecar"] = beside
        if candidate.known is not None:
            known = candidate.known
            earlier_description = descriptions_of(known)
            if (
                known.items() >= from_file.items()
                and earlier_description.items() >= differing(described, known).items()
                and ("sidecar" in known) == ("sidecar" in from_file)
            ):
                return Unchanged(None if earlier is None else earlier.path)
        if (
            earlier is not None
            and earlier.holds_for(from_file["size_bytes"], _age(from_file))
            and not self.retry_rejects
        ):
            return earlier
        return Changed(candidate, from_file, described)

    def check_all(self, candidates: Sequence[Candidate]) -> list[Unchanged | Reject | Changed]:
        return [self.check(candidate) for candidate in candidates]

    def sha256(self, changed: Changed) -> str | Reject:
        """The content of a picture that is not opened yet."""
        original = changed.candidate.record.original
        try:
            data = retry(original.read, _READS, delay_of=_pause_s)
        except OriginalError as error:
            return changed.reject(error)
        except MemoryError:
            return changed.reject(out_of_memory())
        return hashlib.sha256(data).hexdigest()

    def open(self, changed: Changed, *, encoded: str = "") -> DecodedPicture | Reject:
        """The picture with its whole payload; what may pass is tried again for a moment.

        `encoded` is a content that has its vector already and needs no pixels.
        """
        try:
            return self._opened(changed, encoded)
        except ImageError as error:
            return changed.reject(error)
        except MemoryError:  # of its thumbnail, its hash, its pixels
            return changed.reject(out_of_memory())

    def _opened(self, changed: Changed, encoded: str) -> DecodedPicture:
        record, known = changed.candidate.record, changed.candidate.known
        number, retries = changed.candidate.number, 0
        seen: _Seen | None = None

        def find(sha256: str) -> OpenedImage | None:
            nonlocal seen
            seen = None if self.seen is None else self.seen.get(sha256, number)
            return None if seen is None else seen.opened

        def count(error: Exception, pause_s: float) -> None:
            nonlocal retries
            retries += 1

        content: OpenedImage

        def read() -> OpenedImage:
            nonlocal content
            content = opened = open_image(
                record.original,
                reduce_to=longest_side_needed(self.encoder),
                max_megapixels=self.max_megapixels,
                seen=find,
            )
            beside = sidecars_of(record.original)
            return described_by(opened, record.original.name, beside, record.takeout)

        opened = retry(read, _READS, delay_of=_pause_s, on_retry=count)
        if self.thumbnails_dir is not None and seen is None:
            thumbnail = thumbnail_path(self.thumbnails_dir, opened.sha256)
            if not thumbnail.exists():
                write_thumbnail(opened.image, thumbnail)
        # What a manifest said earlier outlives a run without that manifest.
        description = ({} if known is None else descriptions_of(known)) | changed.described
        held = "" if known is None else str(known.get("sha256", ""))
        has_vector = opened.sha256 in (held, encoded) or seen is not None
        pixels = None if has_vector else self.encoder.preprocess(opened.image)
        phash = perceptual_hash(opened.image) if seen is None else seen.phash
        payload = picture_payload(record.image_id, opened, phash, description) | changed.from_file
        if known is not None and held == opened.sha256:
            payload |= text_of(known)
        decoded = DecodedPicture(
            record.image_id,
            payload,
            pixels,
            retries,
            opened.metadata.notes,
            held,
            changed.described,
        )
        if self.seen is not None and seen is None:
            self.seen.add(content, phash, number)  # at the end: from here on nothing fails
        return decoded


def _pause_s(error: Exception) -> float | None:
    """None for an error that stays; one that may pass needs no pause of its own."""
    transient = isinstance(error, ImageError | OriginalError) and error.transient
    return 0.0 if transient else None


def _age(from_file: Mapping[str, Any]) -> str:
    """With the version of an archive or server, which shows changes that size and time do not."""
    return " ".join(from_file[key] for key in ("modified", "etag") if key in from_file)
