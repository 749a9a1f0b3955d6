"""Long work in the background: one job at a time, which every visitor sees, pauses or cancels.

A job runs in a thread of the page's process, so that it goes on while visitors change views, close
the page and open it again. It calls `Job.tick` often: there it waits while paused, and ends when
cancelled, by the KeyboardInterrupt that ends an ingest or a build with everything written kept.
Steps that do not tick, such as reading a manifest, check for cancelling by
`scenesearch.runtime.cancel` and end in the same way.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from scenesearch.errors import SceneSearchError
from scenesearch.runtime.cancel import cancelled_by
from scenesearch.runtime.events import LOGGER

State = Literal["running", "paused", "stopping", "done", "cancelled", "failed"]


class JobBusy(SceneSearchError):  # noqa: N818 - reads as what it is
    """Another job is running; the message is one sentence for the visitor."""


@dataclass
class Job:
    """A piece of work: how far it is, and in the end its result or what went wrong.

    `active_s` counts the seconds it worked, without its pauses.
    """

    title: str
    done: int = 0
    total: int = 0
    detail: str = ""
    state: State = "running"
    result: object = None
    error: str = ""
    active_s: float = 0.0
    _may_run: threading.Event = field(default_factory=threading.Event, repr=False)
    _counted_at: float = field(default_factory=time.monotonic, repr=False)
    _raised: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        self._may_run.set()

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "cancelled", "failed")

    @property
    def rate(self) -> float:
        """Units per second of work."""
        return self.done / self.active_s if self.active_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds left at this rate; None while it is unknown."""
        if self.rate <= 0 or self.total <= 0:
            return None
        return max(0, self.total - self.done) / self.rate

    def tick(self, done: int, total: int, detail: str = "") -> None:
        """Called by the work to say how far it is. Waits while paused, raises when cancelled."""
        self.done, self.total, self.detail = done, total, detail or self.detail
        now = time.monotonic()
        self.active_s += now - self._counted_at
        self._counted_at = now
        if not self._may_run.is_set():
            self._may_run.wait()
            self._counted_at = time.monotonic()
        if self.state == "stopping":
            self._raised = True
            raise KeyboardInterrupt

    def check_cancelled(self) -> None:
        """Called often by the work: raises once when cancelled, so that it can clean up."""
        if self.state == "stopping" and not self._raised:
            self._raised = True
            raise KeyboardInterrupt

    def pause(self) -> None:
        if self.state == "running":
            self.state = "paused"
            self._may_run.clear()

    def resume(self) -> None:
        if self.state == "paused":
            self.state = "running"
            self._may_run.set()

    def cancel(self) -> None:
        """End it at its next tick; what is written stays."""
        if not self.is_over:
            self.state = "stopping"
            self._may_run.set()


class Jobs:
    """The one job of this process; a finished one stays until the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.current: Job | None = None
        self._thread: threading.Thread | None = None

    def start(
        self,
        title: str,
        work: Callable[[Job], object],
        *,
        at_end: Callable[[], None] = lambda: None,
    ) -> Job:
        """Start the work in a thread; raises JobBusy while another job runs."""
        with self._lock:
            if self.current is not None and not self.current.is_over:
                raise JobBusy(f"“{self.current.title}” is still running: wait or cancel it")
            job = self.current = Job(title)
            self._thread = threading.Thread(
                target=_run, args=(job, work, at_end), name="page-job", daemon=True
            )
            self._thread.start()
        return job

    def dismiss(self) -> None:
        """Forget a job that is over."""
        with self._lock:
            if self.current is not None and self.current.is_over:
                self.current = None

    def wait(self, timeout_s: float) -> None:
        """Return when the job is over, at the latest after so many seconds."""
        if self._thread is not None:
            self._thread.join(timeout_s)


def _run(job: Job, work: Callable[[Job], object], at_end: Callable[[], None]) -> None:
    state: State = "failed"
    try:
        with cancelled_by(job.check_cancelled):
            job.result = work(job)
        # A job that ends early by itself says so in its report.
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
