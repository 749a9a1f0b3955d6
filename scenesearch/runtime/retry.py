"""Trying again what may pass: growing, jittered pauses, a deadline and a number of tries.

Jitter keeps many workers from coming back at the same moment, see M. Brooker (2015), Exponential
Backoff and Jitter, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from scenesearch.runtime.cancel import pause

_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """How long and how often: seconds until the last try may begin, pauses, tries in all."""

    deadline_s: float
    tries: int | None = None
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0


def patiently(
    do: Callable[[], _T],
    patience: Patience,
    *,
    passing: Callable[[Exception], float | None],
    on_retry: Callable[[Exception, float], None] = lambda error, pause_s: None,
) -> _T:
    """What `do` gives, tried again while `passing` says that its error may pass.

    `passing` gives the seconds that must be waited at least (a server's retry-after), or None for
    an error that stays; then, and when patience has run out, the error is raised. `on_retry`
    hears of each further try with the pause before it.
    """
    deadline = time.monotonic() + patience.deadline_s
    pause_s, tries = patience.first_pause_s, 1
    while True:
        try:
            return do()
        except Exception as error:
            at_least_s = passing(error)
            if at_least_s is None or tries == patience.tries:
                raise
            wait_s = max(at_least_s, pause_s * random.uniform(0.5, 1.5))  # noqa: S311
            if time.monotonic() + wait_s > deadline:
                raise
            on_retry(error, wait_s)
        pause(wait_s)
        pause_s, tries = min(2 * pause_s, patience.longest_pause_s), tries + 1
