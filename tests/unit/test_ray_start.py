"""Ray that does not start is one sentence; a stand-in fails as Ray does."""

import signal
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ingest.ray_engine import RayEngine, RayError


def ray_that(monkeypatch: pytest.MonkeyPatch, init: Any) -> None:
    ray, data = ModuleType("ray"), ModuleType("ray.data")
    ray.init = init  # type: ignore[attr-defined]
    ray.is_initialized = lambda: False  # type: ignore[attr-defined]
    ray.data = data  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)


@pytest.fixture
def engine() -> RayEngine:
    nothing: Any = SimpleNamespace()
    return RayEngine(nothing, nothing, nothing, workers=1, batch_size=8)


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionError("Could not connect to a Ray cluster at 10.0.0.1:6379"),
        TimeoutError("The node timed out during startup\nwith a second line"),
        RuntimeError("Failed to start the dashboard"),
        ValueError("not an address"),
        OSError(11, "Resource temporarily unavailable"),
    ],
)
def test_a_start_that_fails_is_one_sentence(
    engine: RayEngine, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**options: object) -> None:
        raise fault

    ray_that(monkeypatch, init)
    with pytest.raises(RayError, match=r"^Ray could not be started or joined \(") as caught:
        list(engine.run([]))
    assert "\n" not in str(caught.value)


def test_ray_does_not_keep_sigterm_for_itself(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the run with nothing kept or said."""

    def init(**options: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        raise RuntimeError("late")

    ray_that(monkeypatch, init)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RayError):
        list(engine.run([]))
    assert signal.getsignal(signal.SIGTERM) == before
