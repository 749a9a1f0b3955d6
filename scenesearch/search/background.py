"""Descriptions that few libraries show: what a request is held against.

`background.txt` was written for this, from things and scenes that at most one of 37,000 captions of
everyday photographs mentions. An encoder folder keeps their embeddings, so that no search has to
encode them.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.base import Encoder, EncoderError

_FILE = Path(__file__).with_name("background.txt")

FEWEST = 16
_MOST = 10_000
_BATCH = 32

# A search computes this for 50 pictures: see `relevance.mean_highest_cosines`.
_FEW = 64


class BackgroundError(EncoderError):
    """The background of an encoder's calibration cannot be read."""


@dataclass(frozen=True)
class Background:
    """The descriptions with their embeddings, `(descriptions, dimension)`."""

    texts: tuple[str, ...]
    vectors: NDArray[np.float32]

    def cosines(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of pictures with all descriptions, `(n, dimension)` -> `(n, descriptions)`."""
        if 0 < len(pictures) <= _FEW:
            rows = range(0, len(pictures), 2)
            return np.concatenate([pictures[row : row + 2] @ self.vectors.T for row in rows])
        cosines: NDArray[np.float32] = pictures @ self.vectors.T
        return cosines


def read_descriptions() -> tuple[str, ...]:
    """The bundled descriptions, in an order that mixes short ones and sentences of all subjects."""
    return tuple(_FILE.read_text(encoding="utf-8").splitlines())


def encode_background(encoder: Encoder, texts: Sequence[str]) -> Background:
    """The descriptions in the encoder's space."""
    batches = (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))
    vectors = np.concatenate([encoder.encode_texts(batch) for batch in batches])
    return Background(tuple(texts), vectors)


def background_to_json(background: Background) -> dict[str, Any]:
    """As encoder.json holds it, the vectors in bytes: of 512 dimensions 310 kB."""
    scale = max(float(np.abs(background.vectors).max()), 1e-9) / 127
    levels = np.round(background.vectors / scale).astype(np.int8)
    return {
        "texts": list(background.texts),
        "scale": scale,
        "vectors": base64.b64encode(levels.tobytes()).decode("ascii"),
    }


def read_background(declared: Any, dimension: int) -> Background:
    """The background of an encoder.json; raises BackgroundError."""
    texts = declared.get("texts") if isinstance(declared, Mapping) else None
    if (
        not isinstance(texts, list)
        or not all(isinstance(text, str) for text in texts)
        or not FEWEST <= len(texts) <= _MOST
    ):
        raise BackgroundError(f"calibration of 'background' needs {FEWEST} to {_MOST} 'texts'")
    scale = declared.get("scale")
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale <= 1:
        raise BackgroundError("calibration of 'background' needs a 'scale' between 0 and 1")
    try:
        data = base64.b64decode(declared["vectors"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        data = b""
    if len(data) != len(texts) * dimension:
        raise BackgroundError(
            f"calibration of 'background' needs 'vectors' of {len(texts)} texts and {dimension} "
            "dimensions in base64"
        )
    levels = np.frombuffer(data, np.int8).reshape(len(texts), dimension)
    return Background(tuple(texts), levels.astype(np.float32) * np.float32(scale))
