"""Runs one job's command to its end: `python -m serve.job_process FOLDER`, started by `jobs.py`.

A process of its own, so that the job goes on when the server is killed and what becomes of it is
written down all the same. Imports little: it lives as long as the job.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from scenesearch.runtime.files import atomic_writer

# A job whose process was killed is begun again so often: one that runs out of memory would never
# end otherwise.
_MOST_KILLS = 3

_POLL_S = 0.2
_LOCK_WAIT_S = 5.0
_MOST_CHARACTERS = 2000


def main(folder: Path) -> None:
    try:
        with FileLock(folder / "lock", timeout=_LOCK_WAIT_S):
            if not (folder / "result.json").exists():
                _run(folder)
    except Timeout:  # another server has begun it
        pass


def _run(folder: Path) -> None:
    arguments = json.loads((folder / "job.json").read_bytes())["arguments"]
    with (
        (folder / "report.json").open("wb") as report,
        (folder / "messages.txt").open("wb") as messages,
    ):
        command = subprocess.Popen(  # noqa: S603 - written by the server, run without a shell
            [sys.executable, "-m", "scenesearch.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=report,
            stderr=messages,
        )
        # What ends this process ends the command first, which keeps what it has done.
        signal.signal(signal.SIGTERM, lambda number, frame: command.terminate())
        cancelled = False
        while command.poll() is None:
            if not cancelled and (folder / "cancel").exists():
                cancelled = True
                command.terminate()
            time.sleep(_POLL_S)
    status = command.returncode
    if cancelled and status != 0:
        write_result(folder, "cancelled")
    elif status == 0:
        write_result(folder, "done")
    elif 0 < status < 128:
        write_result(folder, "failed", _last_line(folder / "messages.txt"))
    elif status < 0 and _count_kill(folder) >= _MOST_KILLS:
        name = signal.Signals(-status).name
        write_result(folder, "failed", f"it was ended by {name} {_MOST_KILLS} times")
    # Any other signal ended it in order: the next server goes on with it.


def write_result(folder: Path, state: str, error: str | None = None) -> None:
    """What became of the job, once and for all."""
    with atomic_writer(folder / "result.json", private=True) as out:
        out.write(json.dumps({"state": state, "error": error}).encode())


def _count_kill(folder: Path) -> int:
    file = folder / "kills"
    count = 1 + (len(file.read_bytes()) if file.exists() else 0)
    file.write_bytes(b"x" * count)
    return count


def _last_line(file: Path) -> str:
    with file.open("rb") as messages:
        messages.seek(max(0, messages.seek(0, os.SEEK_END) - _MOST_CHARACTERS))
        lines = messages.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("scenesearch: ") if lines else "the log has no reason"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
