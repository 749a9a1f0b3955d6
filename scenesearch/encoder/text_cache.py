"""A cache of text embeddings: people often ask the same thing again."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.base import Encoder

# 1,000 texts of 512 dimensions are 2 MB.
MOST_TEXTS = 1000


class TextEmbeddingCache:
    """One encoder's embeddings by text; beyond `most` the least recently used are dropped.

    Thread-safe: when two threads ask for the same new text at once, both may encode it.
    """

    def __init__(self, encoder: Encoder, *, most: int = MOST_TEXTS) -> None:
        self.fingerprint = encoder.info.fingerprint
        self._encoder = encoder
        self._most = most
        self._cached: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, text: str) -> NDArray[np.float32]:
        """The text's embedding, `(dimension,)`, float32, of unit length, read-only."""
        return self.embed_all([text])[0]

    def embed_all(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The embeddings of several texts; those not in the cache are encoded in one batch."""
        found: dict[str, NDArray[np.float32]] = {}
        with self._lock:
            for text in texts:
                if text in self._cached:
                    self._cached.move_to_end(text)
                    found[text] = self._cached[text]
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            for text, vector in zip(new, self._encoder.encode_texts(new), strict=True):
                # A copy, because a row would keep its whole batch in memory.
                found[text] = vector.copy()
                found[text].flags.writeable = False
            with self._lock:
                self._cached |= {text: found[text] for text in new}
                while len(self._cached) > self._most:
                    self._cached.popitem(last=False)
        return [found[text] for text in texts]
