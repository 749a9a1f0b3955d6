"""Work in the background: an ingest for each job, one after the other, that outlives the server.

    <data dir>/jobs/<id>/job.json        what is to be done, for whom; written before it is promised
                         progress.json   counts of the run
                         cancel          there once somebody has cancelled it
                         report.json, messages.txt    what the command printed
                         result.json     what became of it

A job is run by a process of its own (`job_process.py`), which runs the command line's `ingest`: it
may be ended at any moment and begun again. When the server starts, it goes on with what has no
result yet. Servers with the same data folder share the jobs; a lock keeps them from running one
twice.
"""

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from filelock import FileLock, Timeout

from scenesearch.encoder.onnx import usable_cores
from scenesearch.home.database import now
from scenesearch.home.installation import Installation
from scenesearch.home.roots import RootsError, innermost, read_roots
from scenesearch.runtime.events import LOGGER
from scenesearch.runtime.files import atomic_writer, private_folder
from serve.job_process import write_result
from serve.keys import Caller
from serve.models import JobAnswer, Progress, RejectAnswer
from serve.problems import Refused, come_back, not_found

# Jobs that may wait, and how long one that is over can be asked for.
_MOST_WAITING = 100
_KEPT_S = 7 * 24 * 3600.0

# How often the runner looks for jobs that another server has left.
_LOOK_S = 2.0
_POLL_S = 0.1

# Rejects that an answer names.
_MOST_NAMED = 100

_ID_CHARACTERS = 24
_MAX_REPORT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Job:
    """What is to be done. `digest` is that of the request, `received` the names of the files that
    an upload has brought."""

    id: str
    kind: Literal["images", "ingest"]
    library: str
    owner: str
    created: str
    digest: str
    arguments: tuple[str, ...]
    received: tuple[str, ...] = ()


class Jobs:
    """The jobs of a data folder; `start` runs those that wait."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._folder = installation.settings.data_dir / "jobs"
        self._work = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # What clients ask

    def job_id(self, caller: Caller, idempotency_key: str | None) -> str:
        """A new id; with the same key of the same caller the same one."""
        if idempotency_key is None:
            return secrets.token_hex(_ID_CHARACTERS // 2)
        told = f"{caller.name}\n{idempotency_key}"
        return hashlib.sha256(told.encode()).hexdigest()[:_ID_CHARACTERS]

    def earlier(self, job_id: str, digest: str) -> Job | None:
        """The job that the same request has made before; refused where another request has."""
        job = self._read(job_id)
        if job is not None and job.digest != digest:
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "this Idempotency-Key belongs to another request: choose a new one",
            )
        return job

    def check_room(self) -> None:
        """Refuse when too many jobs wait."""
        if len(self._waiting()) >= _MOST_WAITING:
            raise come_back(
                HTTPStatus.TOO_MANY_REQUESTS, f"{_MOST_WAITING} jobs are waiting", after_s=30
            )

    def folder(self, job_id: str) -> Path:
        """The folder of a job, whether it exists or not."""
        return self._folder / job_id

    def adding(self) -> FileLock:
        """Held from looking for an earlier job of the same request until the new one is kept."""
        return FileLock(private_folder(self._folder) / ".adding")

    def add(self, job: Job, files: Mapping[str, bytes] = MappingProxyType({})) -> Job:
        """Keep the job and its files; from now on it is safe against a crash."""
        unfinished = private_folder(self._folder / f".new-{secrets.token_hex(8)}")
        try:
            for name, data in {**files, "job.json": json.dumps(asdict(job)).encode()}.items():
                with atomic_writer(unfinished / name, private=True) as out:
                    out.write(data)
                    out.flush()
                    os.fsync(out.fileno())
            unfinished.rename(self.folder(job.id))
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        self._work.set()
        return job

    def find(self, caller: Caller, job_id: str) -> Job:
        """The caller's own job; the scope admin sees all of its libraries."""
        job = self._read(job_id)
        if (
            job is None
            or not caller.sees(job.library)
            or not (job.owner == caller.name or caller.may("admin"))
        ):
            raise not_found(f"there is no job {job_id[:100]}")
        return job

    def cancel(self, job: Job) -> None:
        """End the job; pictures that it has brought in stay."""
        folder = self.folder(job.id)
        with suppress(FileNotFoundError):
            (folder / "cancel").touch()
        try:
            with FileLock(folder / "lock", timeout=0):
                if not (folder / "result.json").exists():
                    write_result(folder, "cancelled")
        except Timeout:  # it is running, and its process has seen the file
            pass

    def answer(self, job: Job) -> JobAnswer:
        """How far the job is."""
        folder = self.folder(job.id)
        result, counts = _json(folder / "result.json"), _json(folder / "progress.json")
        begun = (folder / "messages.txt").exists()
        state = result.get("state", "running" if begun else "queued")
        report = _json(folder / "report.json") if state == "done" else {}
        counts |= {name: report[name] for name in Progress.model_fields if name in report}
        rejects = [
            RejectAnswer(path=self._named(job, str(one["path"])), reason=str(one["reason"]))
            for one in report.get("rejects", [])[:_MOST_NAMED]
        ]
        return JobAnswer(
            id=job.id,
            kind=job.kind,
            library=job.library,
            state=state,
            created=job.created,
            progress=Progress(**{k: v for k, v in counts.items() if k in Progress.model_fields}),
            images=self._image_ids(job, {one.path for one in rejects}) if state == "done" else [],
            rejects=rejects,
            error=result.get("error"),
        )

    def _named(self, job: Job, path: str) -> str:
        """The file of an upload by its own name, any other by its path."""
        received = self._installation.files(job.library).received / job.id
        at = Path(path)
        return at.name if at.is_relative_to(received) else path

    def _image_ids(self, job: Job, rejected: set[str]) -> list[str]:
        """The ids of an upload's pictures, which the library has given them by its folders."""
        files = self._installation.files(job.library)
        folder = str(files.received.resolve() / job.id)
        try:
            roots = read_roots(files.sources)
        except RootsError:
            return []
        root = innermost(roots, folder)
        if not job.received or root is None:
            return []
        inside = Path(folder).relative_to(root).as_posix()
        prefix = roots[root].prefix
        return [f"{prefix}{inside}/{name}" for name in job.received if name not in rejected]

    def ingest(
        self,
        job_id: str,
        kind: Literal["images", "ingest"],
        library: str,
        caller: Caller,
        digest: str,
        words: Sequence[str],
        received: Sequence[str] = (),
    ) -> Job:
        """A job that runs `scenesearch ingest` with these words."""
        # All cores but one, which is left to those who search.
        workers = self._installation.settings.threads or max(1, usable_cores() - 1)
        arguments = (
            *("ingest", "--library", library, "--json", "--workers", str(workers)),
            *("--progress", str(self.folder(job_id).absolute() / "progress.json")),
            *words,
        )
        return Job(job_id, kind, library, caller.name, now(), digest, arguments, tuple(received))

    # Running them

    def start(self) -> None:
        """Run the jobs that wait, those of an earlier server first."""
        self._forget_old()
        self._thread = threading.Thread(target=self._run_all, name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the job that runs, in order; the next server goes on with it."""
        self._stop.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join()

    def _run_all(self) -> None:
        while True:
            self._work.clear()  # before the look at what it is set for
            if self._stop.is_set():
                return
            for job in self._waiting():
                if self._stop.is_set():
                    return
                try:
                    self._run(job)
                except OSError as error:
                    LOGGER.error("job %s: %s", job.id, error, extra={"event": "job"})
            self._work.wait(_LOOK_S)

    def _run(self, job: Job) -> None:
        folder = self.folder(job.id)
        process = subprocess.Popen(  # noqa: S603 - our own module and folder
            [sys.executable, "-m", "serve.job_process", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a signal to the server, such as Ctrl-C, is not for it
            env=os.environ | self._environment(),
        )
        while process.poll() is None:
            if self._stop.is_set():
                process.send_signal(signal.SIGTERM)
                process.wait()
                return
            time.sleep(_POLL_S)
        if process.returncode:
            what = f"its process ended with status {process.returncode}"
            LOGGER.error("job %s: %s", job.id, what, extra={"event": "job"})

    def _environment(self) -> dict[str, str]:
        """What the command must read as the server does; all else it reads by itself."""
        return {
            "SCENESEARCH_DATA_DIR": str(self._installation.settings.data_dir.absolute()),
            "SCENESEARCH_LOG_FORMAT": "text",
            "SCENESEARCH_METRICS_ADDRESS": "",  # the server's own
        }

    def _waiting(self) -> list[Job]:
        """Jobs without a result, the oldest first."""
        found = (self._read(path.name) for path in _folders(self._folder))
        waiting = [
            job
            for job in found
            if job is not None and not (self.folder(job.id) / "result.json").exists()
        ]
        return sorted(waiting, key=lambda job: (job.created, job.id))

    def _forget_old(self) -> None:
        for folder in _folders(self._folder):
            result = folder / "result.json"
            left = result if not folder.name.startswith(".new-") else folder
            _remove_old(left, folder)
        # Of uploads during which a server was killed.
        libraries = self._installation.settings.data_dir / "libraries"
        for folder in libraries.glob("*/received/.new-*"):
            _remove_old(folder, folder)

    def _read(self, job_id: str) -> Job | None:
        if len(job_id) != _ID_CHARACTERS or not set(job_id) <= set("0123456789abcdef"):
            return None
        document = _json(self.folder(job_id) / "job.json")
        if not document:
            return None
        lists = {name: tuple(document.pop(name)) for name in ("arguments", "received")}
        return Job(**(document | lists))


def _remove_old(dated: Path, folder: Path) -> None:
    with suppress(OSError):
        if time.time() - dated.stat().st_mtime > _KEPT_S:
            shutil.rmtree(folder, ignore_errors=True)


def _json(file: Path) -> dict[str, Any]:
    """The document, {} where there is none yet, or a killed process has left half of one."""
    try:
        if file.stat().st_size > _MAX_REPORT_BYTES:
            return {}
        document = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
