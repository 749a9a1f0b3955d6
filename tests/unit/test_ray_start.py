"""Ray that does not start is one sentence; a stand-in fails as Ray does."""

import os
import signal
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ingest.ray_engine import RayEngine, RayError

WAIT = "RAY_raylet_start_wait_time_s"


def ray_that(monkeypatch: pytest.MonkeyPatch, init: Any) -> None:
    # A start leaves what it sets, for Ray's own processes; here for no other test.
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if "RAY_" not in k})
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
    with pytest.raises(RayError, match=r"^Ray could not be started: ") as caught:
        list(engine.run([]))
    assert "\n" not in str(caught.value)


def test_a_cluster_that_lets_nobody_in_may_want_a_token(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**options: object) -> None:
        assert not options.keys() & {"address", "num_cpus", "include_dashboard"}
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")

    ray_that(monkeypatch, init)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(RayError) as caught:
        list(engine.run([]))
    assert str(caught.value) == (
        "Ray could not be joined at head:6379: Failed to connect to Ray cluster at 10.0.0.1:6379; "
        "where its head asks for a token (from Ray 2.59 on it may), set RAY_AUTH_MODE=token here, "
        "and RAY_AUTH_TOKEN to what `ray get-auth-token` prints there"
    )


@pytest.mark.parametrize(("given", "waits"), [(None, "180"), ("400", "400")])
def test_a_start_may_take_long_and_joins_no_other_cluster(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch, given: str | None, waits: str
) -> None:
    def init(**options: object) -> None:
        assert (options["address"], options["num_cpus"]) == ("local", 1)
        assert os.environ[WAIT] == waits
        raise RuntimeError("as expected")

    ray_that(monkeypatch, init)
    if given is not None:
        monkeypatch.setenv(WAIT, given)
    with pytest.raises(RayError, match="as expected"):
        list(engine.run([]))


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
