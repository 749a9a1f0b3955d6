"""Embeddings of texts, of which the last used ones are kept: people ask the same again."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.base import Encoder

# 1,000 texts of 512 dimensions are 2 MB.
MAX_KEPT = 1000


class TextVectors:
    """One encoder's embeddings by text, the least recently used dropped beyond `kept`.

    Safe for threads: two that ask the same new text at once may both encode it.
    """

    def __init__(self, encoder: Encoder, *, kept: int = MAX_KEPT) -> None:
        self.fingerprint = encoder.info.fingerprint
        self._encoder = encoder
        self._of = lru_cache(kept)(self._encoded)

    def of(self, text: str) -> NDArray[np.float32]:
        """The text's embedding, `(dimension,)`, float32, of unit length, read-only."""
        return self._of(text)

    def _encoded(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._encoder.encode_texts([text])[0]
        vector.flags.writeable = False
        return vector
