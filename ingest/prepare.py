"""One picture on its way to the encoder: is it new, then opened, described, made into pixels.

Nothing here knows the store: what the library holds of a picture comes with it, so that the same
work is done in threads of this process or in processes of other machines.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.points import described_payload, descriptions_of, file_payload, picture_payload
from ingest.sidecar import sidecar_of, with_sidecar
from scenesearch.encoder.base import Encoder
from scenesearch.home.rejects import Reject
from scenesearch.pictures.opening import ImageError, OpenedImage, open_image, out_of_memory
from scenesearch.pictures.originals import OriginalError
from scenesearch.pictures.records import ImageRecord
from scenesearch.pictures.thumbnails import thumbnail_path, write_thumbnail
from scenesearch.runtime.retry import RetryPolicy, retry

# A lost connection, a file still being written: for a moment, because a worker waits meanwhile.
_READS = RetryPolicy(deadline_s=30, tries=4, first_pause_s=0.5)


@dataclass(frozen=True)
class Candidate:
    """A picture with what the library knows of it: its point's payload, its last reject."""

    record: ImageRecord
    known: Mapping[str, Any] | None = None
    earlier: Reject | None = None


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
class Prepared:
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

    def light(self) -> "Prepared":
        """Without its pixels, which are the largest part by far."""
        return replace(self, pixels=None)

    def not_encoded(self) -> Reject:
        """It, for want of memory in the encoder; the next run tries again."""
        return Reject(
            str(self.payload["path"]),
            str(out_of_memory()),
            transient=True,
            image_id=self.image_id,
            size_bytes=self.payload.get("size_bytes"),
            modified=_age(self.payload),
        )


def embeddings(encoder: Encoder, pictures: Sequence[Prepared]) -> list[NDArray[np.float32] | None]:
    """Of opened pictures, each `(dimension,)`; None for one that the memory is not enough for,
    even alone."""
    if not pictures:
        return []
    try:
        pixels = np.stack([p.pixels for p in pictures if p.pixels is not None])
        return list(encoder.encode_pixels(pixels))
    except MemoryError:
        if len(pictures) == 1:
            return [None]
        return [vector for picture in pictures for vector in embeddings(encoder, [picture])]


class Preparation:
    """How pictures are made ready for one encoder; thread-safe, and can be pickled."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        thumbnails_dir: Path | None = None,
        max_megapixels: float = 200,
        retry_rejects: bool = False,
    ) -> None:
        self._encoder = encoder
        self._thumbnails_dir = thumbnails_dir
        self._max_megapixels = max_megapixels
        self._retry_rejects = retry_rejects
        # A JPEG is decoded reduced, but with twice what encoder and thumbnail need, so that
        # embeddings differ from those of the full picture by no more than rounding.
        self._reduce_to = 2 * max(*encoder.info.image_size, 160)

    def check(self, candidate: Candidate) -> Unchanged | Reject | Changed:
        """Whether the picture must be opened; only its size and age are read."""
        record, earlier = candidate.record, candidate.earlier
        described = described_payload(record)
        try:
            from_file = file_payload(record.original, record.original.state())
        except OriginalError as error:
            return Changed(candidate, {}, described).reject(error)
        sidecar = sidecar_of(record.original)
        if sidecar is not None:
            from_file["sidecar"] = sidecar.version
        if candidate.known is not None:
            known = candidate.known
            as_told = descriptions_of(known)
            if (
                known.items() >= from_file.items()
                and as_told.items() >= described.items()
                and ("sidecar" in known) == (sidecar is not None)
            ):
                return Unchanged(None if earlier is None else earlier.path)
        if (
            earlier is not None
            and earlier.holds_for(from_file["size_bytes"], _age(from_file))
            and not self._retry_rejects
        ):
            return earlier
        return Changed(candidate, from_file, described)

    def check_all(self, candidates: Sequence[Candidate]) -> list[Unchanged | Reject | Changed]:
        return [self.check(candidate) for candidate in candidates]

    def sha256(self, changed: Changed) -> str | Reject:
        """The content of a picture that is not opened yet."""
        original = changed.candidate.record.original
        try:
            data = retry(
                original.read, _READS, delay_of=lambda error: 0.0 if _passes(error) else None
            )
        except OriginalError as error:
            return changed.reject(error)
        except MemoryError:
            return changed.reject(out_of_memory())
        return hashlib.sha256(data).hexdigest()

    def open(self, changed: Changed, *, encoded: str = "") -> Prepared | Reject:
        """The picture with its whole payload; what may pass is tried again for a moment.

        `encoded` is a content whose vector is at hand already: it needs no pixels.
        """
        try:
            return self._prepared(changed, encoded)
        except ImageError as error:
            return changed.reject(error)
        except MemoryError:  # of its thumbnail, its hash, its pixels
            return changed.reject(out_of_memory())

    def _prepared(self, changed: Changed, encoded: str) -> Prepared:
        retries = 0

        def count(error: Exception, pause_s: float) -> None:
            nonlocal retries
            retries += 1

        opened = retry(
            lambda: self._open(changed.candidate.record),
            _READS,
            delay_of=lambda error: 0.0 if _passes(error) else None,
            on_retry=count,
        )
        if self._thumbnails_dir is not None:
            thumbnail = thumbnail_path(self._thumbnails_dir, opened.sha256)
            if not thumbnail.exists():
                write_thumbnail(opened.image, thumbnail)
        record, known = changed.candidate.record, changed.candidate.known
        # What a manifest said earlier outlives a run without that manifest.
        told = ({} if known is None else descriptions_of(known)) | changed.described
        payload = picture_payload(record.image_id, opened, told) | changed.from_file
        held = "" if known is None else str(known.get("sha256", ""))
        at_hand = opened.sha256 in (held, encoded)
        pixels = None if at_hand else self._encoder.preprocess(opened.image)
        return Prepared(
            record.image_id,
            payload,
            pixels,
            retries,
            opened.metadata.notes,
            held,
            changed.described,
        )

    def _open(self, record: ImageRecord) -> OpenedImage:
        opened = open_image(
            record.original, reduce_to=self._reduce_to, max_megapixels=self._max_megapixels
        )
        sidecar = sidecar_of(record.original)
        return opened if sidecar is None else with_sidecar(opened, sidecar)


def _passes(error: Exception) -> bool:
    return isinstance(error, ImageError | OriginalError) and error.transient


def _age(from_file: Mapping[str, Any]) -> str:
    """An archive's or a server's version tells a change that neither size nor time shows."""
    return " ".join(from_file[key] for key in ("modified", "etag") if key in from_file)
