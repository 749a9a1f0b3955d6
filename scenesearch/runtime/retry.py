"""Retrying what may succeed later: growing pauses with jitter, up to a deadline or a number of
tries.

Jitter keeps many workers from retrying at the same moment, see M. Brooker (2015), Exponential
Backoff and Jitter, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from scenesearch.runtime.cancel import sleep

_T = TypeVar("_T")


@dataclass(frozen=True)
class RetryPolicy:
    """No try begins after `deadline_s`; `tries` counts the first one too."""

    deadline_s: float
    tries: int | None = None
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0


def retry(
    do: Callable[[], _T],
    policy: RetryPolicy,
    *,
    delay_of: Callable[[Exception], float | None],
    on_retry: Callable[[Exception, float], None] = lambda error, pause_s: None,
) -> _T:
    """The result of `do`, called again while its error is temporary.

    `delay_of` gives the least seconds to wait after an error (a server's retry-after), or None for
    a permanent one. A permanent error, or one at the end of the policy, is raised. `on_retry` is
    called before each further try with the error and the pause.
    """
    deadline = time.monotonic() + policy.deadline_s
    pause_s, tries = policy.first_pause_s, 1
    while True:
        try:
            return do()
        except Exception as error:
            at_least_s = delay_of(error)
            if at_least_s is None or tries == policy.tries:
                raise
            wait_s = max(at_least_s, pause_s * random.uniform(0.5, 1.5))  # noqa: S311
            if time.monotonic() + wait_s > deadline:
                raise
            on_retry(error, wait_s)
        sleep(wait_s)
        pause_s, tries = min(2 * pause_s, policy.longest_pause_s), tries + 1
