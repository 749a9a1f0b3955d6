"""Slows down guessing of the password: after a few wrong ones, each attempt has to wait longer.

A client waits for its own wrong attempts, and for those of all clients together. A browser that
was logged in before waits only for its own: an attacker cannot lock it out.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_CLIENTS = 10_000


@dataclass(frozen=True)
class Backoff:
    """The first `free` wrong attempts cost nothing; then the pause is `first_s` and doubles up to
    `longest_s`. In every `forget_s` without an attempt, half of the wrong ones are forgotten."""

    free: int
    first_s: float
    longest_s: float
    forget_s: float = 600.0


PER_CLIENT = Backoff(free=3, first_s=1.0, longest_s=60.0)
# A longer pause would let many strangers keep out everybody who comes for the first time.
ALL_CLIENTS = Backoff(free=30, first_s=0.25, longest_s=5.0)


@dataclass
class _Attempts:
    wrong: int = 0
    last: float = 0.0
    next_at: float = 0.0

    def count(self, backoff: Backoff, now: float) -> None:
        self.wrong = (self.wrong >> min(64, int((now - self.last) / backoff.forget_s))) + 1
        self.last = now
        beyond = self.wrong - backoff.free
        pause = (
            0.0 if beyond < 0 else min(backoff.longest_s, backoff.first_s * 2.0 ** min(beyond, 32))
        )
        self.next_at = now + pause


class LoginThrottle:
    """Counts attempts, of a bounded number of clients."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._by_client: OrderedDict[str, _Attempts] = OrderedDict()
        self._all = _Attempts()

    def __len__(self) -> int:
        return len(self._by_client)

    def begin(self, address: str, browser: str | None = None) -> float:
        """Seconds until this client may try. 0 means now, and then the attempt counts as wrong
        until `succeeded` is called: many attempts at once gain nothing."""
        now = self._now()
        client = _client(address, browser)
        attempts = self._by_client.setdefault(client, _Attempts())
        self._by_client.move_to_end(client)
        while len(self._by_client) > MAX_CLIENTS:
            self._by_client.popitem(last=False)
        wait = attempts.next_at - now
        if browser is None:
            wait = max(wait, self._all.next_at - now)
        if wait > 0:
            return wait
        attempts.count(PER_CLIENT, now)
        if browser is None:
            self._all.count(ALL_CLIENTS, now)
        return 0.0

    def succeeded(self, address: str, browser: str | None = None) -> None:
        """The attempt that was begun had the right password."""
        self._by_client.pop(_client(address, browser), None)
        if browser is None:
            self._all.wrong = max(0, self._all.wrong - 1)
            if self._all.wrong < ALL_CLIENTS.free:
                self._all.next_at = 0.0


def _client(address: str, browser: str | None) -> str:
    """Whom an attempt is counted for; an IPv6 client is its household's whole network."""
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
