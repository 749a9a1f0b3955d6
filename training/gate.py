"""Accepts or refuses a smaller encoder by its Recall@10 on held-back pictures.

Parity of vectors says little about rankings: int8 weights turn every vector a little, but what
counts is whether a caption still finds its picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenesearch.encoder.base import Encoder
from scenesearch.errors import SceneSearchError
from scenesearch.pictures.opening import ImageError, open_image

RECALL_LOSS = 0.5  # points of Recall@10 that smaller weights may cost
FEWEST = 50  # pictures: among only ten, every picture is among the first ten
MOST = 1000  # more would take minutes and give the same answer


class ExportError(SceneSearchError):
    """The encoder was not exported; the message is one sentence with the figures."""


@dataclass(frozen=True)
class Validation:
    """Pictures and the captions written for each, held back from training."""

    paths: tuple[Path, ...]
    captions: tuple[tuple[str, ...], ...]

    def first(self, most: int = MOST) -> Validation:
        return Validation(self.paths[:most], self.captions[:most])


def recall_at_10(encoder: Encoder, validation: Validation) -> float:
    """Percent of the captions whose picture is among the ten nearest of all pictures."""
    rows = []
    for start in range(0, len(validation.paths), 16):
        batch = []
        for path in validation.paths[start : start + 16]:
            try:
                batch.append(open_image(path).image)
            except ImageError as error:
                raise ExportError(f"{path} cannot be validated on: {error}") from None
        rows.append(encoder.encode_images(batch))
    images = np.concatenate(rows)
    texts = [text for captions in validation.captions for text in captions]
    owners = np.repeat(np.arange(len(images)), [len(own) for own in validation.captions])
    vectors = np.concatenate(
        [encoder.encode_texts(texts[n : n + 64]) for n in range(0, len(texts), 64)]
    )
    similarity = vectors @ images.T  # (captions, pictures)
    own = similarity[np.arange(len(texts)), owners]
    ahead = (similarity > own[:, None]).sum(axis=1)
    return 100 * float((ahead < 10).mean())


def check_recall(
    candidate: Encoder, reference: Encoder, validation: Validation | None, what: str
) -> dict[str, float]:
    """The figures of both; raises ExportError when the candidate loses more than is allowed."""
    if validation is None or len(validation.paths) < FEWEST:
        given = 0 if validation is None else len(validation.paths)
        raise ExportError(
            f"{what} is only accepted by its Recall@10 on captioned pictures that were not "
            f"trained on: {FEWEST} are needed, {given} are given"
        )
    validation = validation.first()
    before, after = recall_at_10(reference, validation), recall_at_10(candidate, validation)
    if before - after > RECALL_LOSS:
        raise ExportError(
            f"{what} is refused: Recall@10 on {len(validation.paths)} pictures falls from "
            f"{before:.1f} to {after:.1f}, more than {RECALL_LOSS} points"
        )
    return {
        "pictures": len(validation.paths),
        "recall@10": round(after, 2),
        "recall@10 of fp32": round(before, 2),
    }
