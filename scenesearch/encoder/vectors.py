"""Embeddings of texts, of which the last used ones are kept: people ask the same again."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

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
        self._most = kept
        self._kept: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._guard = threading.Lock()

    def of(self, text: str) -> NDArray[np.float32]:
        """The text's embedding, `(dimension,)`, float32, of unit length, read-only."""
        return self.of_all([text])[0]

    def of_all(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The same of several; those not kept are encoded in one batch."""
        found: dict[str, NDArray[np.float32]] = {}
        with self._guard:
            for text in texts:
                if text in self._kept:
                    self._kept.move_to_end(text)
                    found[text] = self._kept[text]
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            vectors = self._encoder.encode_texts(new)
            vectors.flags.writeable = False
            found |= zip(new, vectors, strict=True)
            with self._guard:
                for text in new:
                    # A row would keep its whole batch in memory.
                    self._kept[text] = found[text] if len(new) == 1 else _own(found[text])
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return [found[text] for text in texts]


def _own(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    copy = vector.copy()
    copy.flags.writeable = False
    return copy
