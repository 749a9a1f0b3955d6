"""How many pictures are encoded together: as asked, or found out with the first ones."""

from statistics import median

# Tried in this order, each so often; the first run of an encoder's graph counts for nothing.
_SIZES = (8, 4, 16, 32)
_TRIES = 4

# A larger batch must save so much time a picture, or the smaller one, which needs less memory
# and repeats less after a crash, is kept.
_WORTH = 0.95


class BatchSize:
    """The size for the next batch; automatic without a given one.

    Automatic: the first 240 pictures are encoded in batches of 4, 8, 16 and 32, four of each, and
    then the smallest size within five per cent of the quickest is kept. A shorter run ends
    before that. Wall time under load decides, because that is what the run will be made of.
    """

    def __init__(self, given: int | None = None) -> None:
        self._given = given
        self._planned = [size for size in _SIZES for _ in range(_TRIES)]
        self._seconds: dict[int, list[float]] = {size: [] for size in _SIZES}
        self._chosen: int | None = given
        self._warm = False

    @property
    def current(self) -> int:
        """The size to fill the next batch to."""
        if self._chosen is not None:
            return self._chosen
        return self._planned[0] if self._planned else _SIZES[0]

    @property
    def largest(self) -> int:
        """No batch is larger."""
        return self._chosen or max(_SIZES)

    def begun(self) -> None:
        """A batch of the current size has been handed out."""
        if self._planned:
            del self._planned[0]

    def took(self, pictures: int, seconds: float) -> None:
        """So long it took; batches that twins have made smaller say nothing."""
        if self._chosen is not None or pictures not in self._seconds:
            return
        if not self._warm:
            self._warm = True
            return
        self._seconds[pictures].append(seconds / pictures)
        if not self._planned and all(self._seconds.values()):
            times = {size: median(found) for size, found in self._seconds.items()}
            quickest = min(times.values())
            self._chosen = min(size for size in times if _WORTH * times[size] <= quickest)
