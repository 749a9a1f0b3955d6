"""Background jobs of the page."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from scenesearch.errors import SceneSearchError
from scenesearch.runtime.events import LOGGER
from tests.tiny_encoder import write_tiny_encoder
from ui import resources
from ui.jobs import Job, Jobs
from ui.settings import read_settings_again


def test_a_job_waits_while_paused_and_ends_when_cancelled() -> None:
    jobs, begun = Jobs(), threading.Event()

    def work(job: Job) -> None:
        for number in itertools.count():
            begun.set()
            job.tick(number, 0)
            time.sleep(0.001)

    job = jobs.start("Counting", work)
    assert begun.wait(5)
    job.pause()
    jobs.wait(0.2)
    reached = job.done
    jobs.wait(0.1)
    assert (job.state, job.done) == ("paused", reached)
    job.cancel()
    jobs.wait(5)
    assert (job.state, job.done) == ("cancelled", reached)


def test_a_job_that_fails_keeps_its_sentence_and_an_error_of_ours_its_details_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)  # whoever configured the log before

    def told(job: Job) -> None:
        raise SceneSearchError("the disk is full")

    def broken(job: Job) -> None:
        raise ZeroDivisionError("secret")

    jobs = Jobs()
    job = jobs.start("Filling", told)
    jobs.wait(5)
    assert (job.state, job.error) == ("failed", "the disk is full")
    job = jobs.start("Dividing", broken)
    jobs.wait(5)
    assert job.state == "failed"
    assert "secret" not in job.error
    assert "secret" in caplog.text


@pytest.fixture
def device_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings of an installation whose ingest has a GPU."""
    monkeypatch.setenv("SCENESEARCH_DEVICE", "cuda")
    read_settings_again()
    yield
    read_settings_again()


@pytest.mark.usefixtures("device_cuda")
def test_a_job_encodes_on_the_cpu_though_ingest_has_a_gpu(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    encoder = resources.installation().load_encoder(str(folder), for_ingest=True)
    assert len(encoder.encode_images([Image.new("RGB", (8, 8))])) == 1
