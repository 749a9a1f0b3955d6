"""Long work in the background: one piece at a time, seen by every visitor, paused or cancelled.

The work runs in a thread of the page's process, so that it goes on while pages are turned, closed
and opened again. It calls `Job.tick` often: there it waits while paused, and ends when cancelled,
by the KeyboardInterrupt that ends an ingest or a build with everything written kept. What does not
tick, as reading a manifest, looks up (`scenesearch.runtime.cancel`) and ends in the same way.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from scenesearch.errors import SceneSearchError
from scenesearch.runtime.cancel import cancelled_by
from scenesearch.runtime.events import LOGGER

State = Literal["running", "paused", "stopping", "done", "cancelled", "failed"]


class JobBusy(SceneSearchError):  # noqa: N818 - reads as what it is
    """Something else is being done; the message is one sentence for the visitor."""


@dataclass
class Job:
    """A piece of work: how far it is, and in the end its result or what went wrong.

    `active_s` are the seconds it worked, without its pauses.
    """

    title: str
    done: int = 0
    total: int = 0
    detail: str = ""
    state: State = "running"
    result: Any = None
    error: str = ""
    active_s: float = 0.0
    _go: threading.Event = field(default_factory=threading.Event, repr=False)
    _since: float = field(default_factory=time.monotonic, repr=False)
    _told: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        self._go.set()

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "cancelled", "failed")

    @property
    def rate(self) -> float:
        """Units a second while it worked."""
        return self.done / self.active_s if self.active_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds still to go at this rate; None while nobody can tell."""
        if self.rate <= 0 or self.total <= 0:
            return None
        return max(0, self.total - self.done) / self.rate

    def tick(self, done: int, total: int, detail: str = "") -> None:
        """Called by the work: how far it is. Waits while paused, raises when cancelled."""
        self.done, self.total, self.detail = done, total, detail or self.detail
        self._count()
        if not self._go.is_set():
            self._go.wait()
            self._since = time.monotonic()
        if self.state == "stopping":
            self._told = True
            raise KeyboardInterrupt

    def look(self) -> None:
        """Called within the work, often: raises once when cancelled, so that it ends in order."""
        if self.state == "stopping" and not self._told:
            self._told = True
            raise KeyboardInterrupt

    def pause(self) -> None:
        if self.state == "running":
            self.state = "paused"
            self._go.clear()

    def resume(self) -> None:
        if self.state == "paused":
            self.state = "running"
            self._go.set()

    def cancel(self) -> None:
        """End it at its next tick; what is written stays."""
        if not self.is_over:
            self.state = "stopping"
            self._go.set()

    def _count(self) -> None:
        now = time.monotonic()
        self.active_s += now - self._since
        self._since = now


class Jobs:
    """The one piece of work of this process, the last one until there is another."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.current: Job | None = None
        self._thread: threading.Thread | None = None

    def start(
        self, title: str, work: Callable[[Job], Any], *, at_end: Callable[[], None] = lambda: None
    ) -> Job:
        """Begin the work in a thread; raises JobBusy while other work goes on."""
        with self._guard:
            if self.current is not None and not self.current.is_over:
                raise JobBusy(f"“{self.current.title}” is still going on: wait or cancel it")
            job = self.current = Job(title)
            self._thread = threading.Thread(
                target=_run, args=(job, work, at_end), name="page-job", daemon=True
            )
            self._thread.start()
        return job

    def dismiss(self) -> None:
        """Forget work that is over."""
        with self._guard:
            if self.current is not None and self.current.is_over:
                self.current = None

    def wait(self, timeout_s: float) -> None:
        """Return when the work is over, at the latest after so many seconds."""
        if self._thread is not None:
            self._thread.join(timeout_s)


def _run(job: Job, work: Callable[[Job], Any], at_end: Callable[[], None]) -> None:
    state: State = "failed"
    try:
        with cancelled_by(job.look):
            job.result = work(job)
        # Work that ends early by itself says so in its report.
        state = "cancelled" if job.state == "stopping" else "done"
    except KeyboardInterrupt:
        state = "cancelled"
    except SceneSearchError as error:
        job.error = str(error)
    except Exception:
        LOGGER.exception("“%s” failed", job.title, extra={"event": "page_job"})
        job.error = "an error in the program; the log of the page has its details"
    finally:
        at_end()
        job.state = state
