"""How many pictures are encoded together: as given, or measured with the first ones."""

import threading
from statistics import median

# Fours and eights are tried in any case; the first run of an encoder's graph counts for nothing.
_SIZES = (4, 8, 16, 32)
_TRIES = 4

# A larger batch must save so much time a picture, or the smaller one is kept: the memory of a run
# grows with it (an encoder of 7 million weights, two workers: 84 MB for fours, 171 for eights, 340
# for sixteens), and a crash repeats more.
_WORTH = 0.95

# To try a size costs its memory for the rest of the run. One that is twice as large is tried only
# where the last doubling saved this much, as it does on a GPU and not on a processor.
_PROMISING = 0.85


class BatchSize:
    """The size for the next batch; automatic without a given one.

    Automatic: the first 48 pictures are encoded in batches of 4 and of 8, four of each, and the
    smaller size is kept unless the larger one is five per cent quicker. Where that saved fifteen
    per cent, 16 is tried against 8 in the same way, and then 32 against 16. Wall time under load
    decides, because that is what the run will be made of.
    """

    def __init__(self, given: int | None = None) -> None:
        self._tried = [4, 8]
        self._planned = [size for size in self._tried for _ in range(_TRIES)]
        self._seconds: dict[int, list[float]] = {size: [] for size in _SIZES}
        self._chosen: int | None = given
        self._warm = False
        self._guard = threading.Lock()  # the workers call `took` at the same time

    @property
    def current(self) -> int:
        """The size to fill the next batch to."""
        if self._chosen is not None:
            return self._chosen
        return self._planned[0] if self._planned else self._tried[0]

    @property
    def largest(self) -> int:
        """No batch so far is larger."""
        return self._chosen or max(self._tried)

    def begun(self) -> None:
        """A batch of the current size has been handed out."""
        if self._planned:
            del self._planned[0]

    def took(self, pictures: int, seconds: float) -> None:
        """Count the time of a batch, unless twins have made it smaller than a size on trial."""
        with self._guard:
            if self._chosen is not None or pictures not in self._seconds:
                return
            if not self._warm:
                self._warm = True
                return
            self._seconds[pictures].append(seconds / pictures)
            if not self._planned and all(self._seconds[size] for size in self._tried):
                self._decide()

    def _decide(self) -> None:
        """Keep a size, or try the next one."""
        largest = max(self._tried)
        smaller = _SIZES[_SIZES.index(largest) - 1]
        share = median(self._seconds[largest]) / median(self._seconds[smaller])
        if share <= _PROMISING and largest < _SIZES[-1]:
            following = _SIZES[_SIZES.index(largest) + 1]
            self._tried.append(following)
            self._planned = [following] * _TRIES
        else:
            self._chosen = largest if share <= _WORTH else smaller
