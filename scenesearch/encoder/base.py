"""What an encoder promises: pictures and words become vectors in one space."""

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
# To the longest text of the batch, or always to the context length (SigLIP pools its last place).
Padding = Literal["longest", "context_length"]


class EncoderError(SceneSearchError):
    """The encoder cannot be used; the message is one sentence for the user."""


class EncoderUnreadable(EncoderError):  # noqa: N818 - reads as what it is
    """Its files may be in order, but memory, a permission or the disk is in the way."""


@dataclass(frozen=True)
class EncoderInfo:
    """An encoder's identity and its declared preprocessing.

    `fingerprint` changes whenever a vector could: a collection made under another one must not
    be searched with this encoder. `image_fingerprint` changes whenever a picture's vector could:
    encoders that share it differ in their text side alone. `calibration` is what
    `scenesearch.search.relevance` reads.
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
    """Both towers. Embeddings are float32, of unit length, `(n, dimension)`."""

    @property
    def info(self) -> EncoderInfo: ...

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """An upright RGB picture as the image tower takes it, `(3, height, width)`; thread-safe."""

    def encode_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of preprocessed pictures, `(n, 3, height, width)` -> `(n, dimension)`."""

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embeddings of upright RGB pictures, `(n, dimension)`."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of texts, `(n, dimension)`; one beyond the context length is the mean of its
        parts."""
