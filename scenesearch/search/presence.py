"""Which pictures are offline: those of a folder of the library that is away, such as a disk.

It is found out when it is asked, and nothing of it is stored: pictures come back with their disk.
"""

from collections.abc import Callable
from dataclasses import dataclass

from scenesearch.store.filters import AnyOf, Condition, Not, OneOf

PresenceOf = Callable[[str], "Presence"]


@dataclass(frozen=True)
class Presence:
    """The folders of a library that are away, and how ids begin ('' or 'trip/') in those that are
    away and in the others."""

    away: tuple[str, ...] = ()
    away_prefixes: frozenset[str] = frozenset()
    here_prefixes: frozenset[str] = frozenset()

    def offline(self, path: str) -> bool:
        """Whether the original of this path is away."""
        return any(path.startswith(f"{folder.rstrip('/')}/") for folder in self.away)

    @property
    def condition(self) -> Condition:
        """What the offline pictures of the library pass, and no others."""
        if not self.away_prefixes:
            return AnyOf(())
        if "" in self.away_prefixes:  # all but what is in the folders that are here
            return Not(_inside(self.here_prefixes))
        return _inside(self.away_prefixes)


def all_here(library: str) -> Presence:
    """For a library whose folders nobody knows."""
    return Presence()


def _inside(prefixes: frozenset[str]) -> AnyOf:
    folders = tuple(sorted(prefix.rstrip("/") for prefix in prefixes if prefix))
    return AnyOf((OneOf("folder", folders),) if folders else ())
