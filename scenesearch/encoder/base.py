"""The interface of an encoder: it turns pictures and texts into vectors of one space."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenesearch.errors import SceneSearchError

Resize = Literal["squash", "shortest_edge_crop"]
Interpolation = Literal["bilinear", "bicubic", "lanczos"]
# Pad texts to the longest of the batch, or always to the context length (SigLIP pools the last
# token).
Padding = Literal["longest", "context_length"]


class EncoderError(SceneSearchError):
    """The encoder cannot be used; the message is one sentence for the user."""


class EncoderUnreadable(EncoderError):  # noqa: N818 - reads as what it is
    """Its files may be fine, but memory, a permission or the disk keeps us from reading them."""


@dataclass(frozen=True)
class EncoderInfo:
    """An encoder's identity and its declared preprocessing.

    `fingerprint` changes whenever a vector could change: this encoder must not search a collection
    made with another fingerprint. `image_fingerprint` changes whenever a picture's vector could:
    encoders with the same one differ only in their text side. `calibration` is read by
    `scenesearch.search.relevance`.
    """

    name: str
    fingerprint: str
    dimension: int
    image_size: tuple[int, int]
    resize: Resize
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    context_length: int
    text_prefix: str
    pad_token_id: int
    padding: Padding = "longest"
    image_output: str = "image_embeddings"
    text_output: str = "text_embeddings"
    image_fingerprint: str = ""
    folder: Path | None = None
    parts: tuple[str, ...] = ()
    calibration: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)


class Encoder(Protocol):
    """An image tower and a text tower. Embeddings are float32, of unit length, `(n, dimension)`."""

    @property
    def info(self) -> EncoderInfo: ...

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """An upright RGB picture as input of the image tower, `(3, height, width)`; thread-safe."""

    def encode_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of preprocessed pictures, `(n, 3, height, width)` -> `(n, dimension)`."""

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embeddings of upright RGB pictures, `(n, dimension)`."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of texts, `(n, dimension)`; a text longer than the context is the mean of its
        parts."""
