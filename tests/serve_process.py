"""A running `scenesearch serve`, for tests and benchmarks that ask it over the loopback."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.tiny_encoder import declare, write_tiny_encoder

WAIT_S = 60


class Server:
    """A running `scenesearch serve` over a data folder, and a client of it. With a `port` it is
    at the same address when it is started again."""

    def __init__(self, data_dir: Path, *, port: int = 0, **settings: str) -> None:
        self.data_dir = data_dir
        self._port = port
        tiny = write_tiny_encoder(data_dir / "tiny")
        declare(tiny, calibration={"method": "logistic", "cosine": 20, "intercept": -15})
        names = {name: value for name, value in os.environ.items() if "SCENESEARCH" not in name}
        self._environment = {
            **names,
            "SCENESEARCH_DATA_DIR": str(data_dir),
            "SCENESEARCH_ENCODER": str(tiny),
            "SCENESEARCH_LOG_FORMAT": "json",
            "OMP_NUM_THREADS": "1",
            **{f"SCENESEARCH_{name.upper()}": value for name, value in settings.items()},
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scenesearch.cli", "serve", "--port", str(self._port)],
            env=self._environment,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd=self.data_dir,
        )
        assert self.process.stderr is not None
        line = json.loads(self.process.stderr.readline())["message"]
        url = line.removeprefix("API: ").partition(" ")[0]
        self.client = httpx2.Client(base_url=url, timeout=WAIT_S)
        wait_for(lambda: self._answers())

    def _answers(self) -> bool:
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)
        self.client.close()

    def stop(self) -> int:
        self.process.terminate()
        status = self.process.wait(WAIT_S)
        self.client.close()
        return status

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").json()
        return found

    def over(self, job_id: str) -> dict[str, Any]:
        """The job, once it is over."""
        wait_for(lambda: self.job(job_id)["state"] in ("done", "failed", "cancelled"))
        return self.job(job_id)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def job_processes(data_dir: Path) -> list[int]:
    """The processes of jobs of this data folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if any(word.startswith(str(data_dir / "jobs")) for word in words):
            found.append(int(process.name))
    return found
