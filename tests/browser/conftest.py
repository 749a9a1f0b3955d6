"""A real server over a real library, and the system's own Chromium to look at it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.tiny_encoder import declare, write_tiny_encoder

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_STARTED_WITHIN_S = 60

# On a busy machine a page takes its time.
expect.set_options(timeout=30_000)


def find_chromium() -> str | None:
    """The system's own browser, wherever its package puts it."""
    return next((found for name in _CHROMIUM if (found := shutil.which(name))), None)


def launch_chromium(playwright: Playwright) -> Browser:
    """Headless; a container's root has no sandbox, and nothing is fetched in the background."""
    return playwright.chromium.launch(
        executable_path=find_chromium(),
        args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    )


# Not for the whole session: while Playwright is open, no other test can run an event loop.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's Chromium; Playwright downloads none."""
    if find_chromium() is None:
        pytest.skip("no Chromium on this system: install the package chromium")
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder folder that knows red, green and blue."""
    folder = write_tiny_encoder(tmp_path_factory.mktemp("tiny-encoder"))
    declare(folder, calibration={"method": "logistic", "cosine": 20, "intercept": -15})
    return folder


@dataclass(frozen=True)
class ServedPage:
    """A page that runs: where, and as which process."""

    address: str
    process_id: int


@contextmanager
def serving(
    data_dir: Path,
    encoder: Path,
    *,
    library: str = "photos",
    prelude: str = "",
    **settings: str,
) -> Iterator[ServedPage]:
    """`scenesearch ui` as a user starts it, in another folder; `page_folders="/a"` sets
    SCENESEARCH_PAGE_FOLDERS. `prelude` is Python that its process runs before, to break something.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = data_dir / "page.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"{prelude}\nfrom scenesearch.cli import main; main()",
                "ui",
                "--port",
                str(port),
            ],
            cwd=data_dir,
            env={
                **{name: value for name, value in os.environ.items() if "SCENESEARCH" not in name},
                "SCENESEARCH_DATA_DIR": str(data_dir),
                "SCENESEARCH_LIBRARY": library,
                "SCENESEARCH_ENCODER": str(encoder),
                "OMP_NUM_THREADS": "1",
                **{f"SCENESEARCH_{name.upper()}": value for name, value in settings.items()},
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_healthy(server, address, log)
        yield ServedPage(address, server.pid)
    finally:
        server.terminate()
        server.wait(timeout=120)


def _wait_until_healthy(server: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    ends = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < ends and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):  # noqa: S310
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the page did not start:\n{log.read_text()}")
