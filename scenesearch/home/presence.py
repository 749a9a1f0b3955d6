"""Which folders of a library are there: one look at each, without waiting for one that hangs."""

import os
import threading
import time
from pathlib import Path

from scenesearch.home.roots import RootsError, read_roots
from scenesearch.pictures.originals import is_url
from scenesearch.search.presence import Presence

# A look is repeated after so long.
_FRESH_S = 2.0

# A network disk that does not answer for so long is away. The look goes on in its thread, and there
# is never a second one.
_WAIT_S = 0.5

_lock = threading.Lock()
_looks: dict[str, "_Look"] = {}


class _Look:
    """One look at a folder, in a thread."""

    def __init__(self, folder: str) -> None:
        self.begun = time.monotonic()
        self._folder = folder
        self._is_here = False
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def is_over(self) -> bool:
        return self._done.is_set()

    def result(self, deadline: float) -> bool:
        """Whether there is something in the folder; not, if there is no answer in time."""
        return self._done.wait(max(0.0, deadline - time.monotonic())) and self._is_here

    def _run(self) -> None:
        self._is_here = holds_something(self._folder)
        self._done.set()


def presence(sources: Path) -> Presence:
    """The folders of the library whose `sources.json` this is."""
    try:
        roots = read_roots(sources)
    except RootsError:  # an ingest and `library doctor` say so
        return Presence()
    folders = [place for place in roots if not is_url(place)]
    now = time.monotonic()
    with _lock:
        for folder in folders:
            look = _looks.get(folder)
            if look is None or (look.is_over and now - look.begun > _FRESH_S):
                _looks[folder] = _Look(folder)
        looks = {folder: _looks[folder] for folder in folders}
    away = [folder for folder, look in looks.items() if not look.result(now + _WAIT_S)]
    here = [place for place in roots if place not in away]
    return Presence(
        tuple(away),
        frozenset(roots[place].prefix for place in away),
        frozenset(roots[place].prefix for place in here),
    )


def holds_something(folder: str) -> bool:
    """Whether the folder is there with something in it that is not hidden: systems leave an empty
    one, or hidden files, where a disk was mounted."""
    try:
        with os.scandir(folder) as entries:
            return any(not entry.name.startswith(".") for entry in entries)
    except OSError:
        return False
