"""Guessing a password is slowed down: after some wrong ones each next has to wait longer.

One address waits for its own wrong guesses, all of them together for those of all, and a browser
that was let in before waits for its own alone: whoever guesses keeps it from nothing.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_ADDRESSES = 10_000


@dataclass(frozen=True)
class Pace:
    """So many wrong guesses are free; then a pause of `first_s` that doubles up to `longest_s`.
    Of what was wrong, half is forgotten in every `calm_s` without a guess."""

    free: int
    first_s: float
    longest_s: float
    calm_s: float = 600.0


ONE = Pace(free=3, first_s=1.0, longest_s=60.0)
# Longer would let many strangers keep out everybody who comes for the first time.
ALL = Pace(free=30, first_s=0.25, longest_s=5.0)


@dataclass
class _Tries:
    wrong: int = 0
    last: float = 0.0
    next_at: float = 0.0

    def count(self, pace: Pace, now: float) -> None:
        self.wrong = (self.wrong >> min(64, int((now - self.last) / pace.calm_s))) + 1
        self.last = now
        beyond = self.wrong - pace.free
        pause = 0.0 if beyond < 0 else min(pace.longest_s, pace.first_s * 2.0 ** min(beyond, 32))
        self.next_at = now + pause


class Guesses:
    """Counts guesses; of a bounded number of addresses."""

    def __init__(
        self, *, one: Pace = ONE, everybody: Pace = ALL, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._one, self._everybody, self._now = one, everybody, now
        self._by_source: OrderedDict[str, _Tries] = OrderedDict()
        self._all = _Tries()

    def __len__(self) -> int:
        return len(self._by_source)

    def begin(self, address: str, browser: str | None = None) -> float:
        """Seconds until this visitor may guess; 0 for now, and then the guess counts as wrong
        until `was_right` is told: many at once gain nothing."""
        now = self._now()
        source = _source(address, browser)
        tries = self._by_source.setdefault(source, _Tries())
        self._by_source.move_to_end(source)
        while len(self._by_source) > MOST_ADDRESSES:
            self._by_source.popitem(last=False)
        wait = tries.next_at - now
        if browser is None:
            wait = max(wait, self._all.next_at - now)
        if wait > 0:
            return wait
        tries.count(self._one, now)
        if browser is None:
            self._all.count(self._everybody, now)
        return 0.0

    def was_right(self, address: str, browser: str | None = None) -> None:
        """The guess that was begun was the password."""
        self._by_source.pop(_source(address, browser), None)
        if browser is None:
            self._all.wrong = max(0, self._all.wrong - 1)
            self._all.next_at = 0.0 if self._all.wrong < self._everybody.free else self._all.next_at


def _source(address: str, browser: str | None) -> str:
    """Whom a guess is counted for; of IPv6 a household's whole network."""
    if browser is not None:
        return f"browser {browser}"
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
