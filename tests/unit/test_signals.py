"""Signals that strike where Python throws exceptions away."""

import subprocess
import sys

import pytest

CODE = """
import signal, sys, time, weakref
from scenesearch.runtime import signals
signals.install_handlers()
{page}

class Thing:
    pass

thing = Thing()
watched = weakref.ref(thing, lambda _: signal.raise_signal(signal.{name}))
try:
    del thing
    time.sleep(20)
    print("went on")
except KeyboardInterrupt:
    print("ended", signals.exit_status())
"""


@pytest.mark.parametrize(
    "page",
    [
        "",
        "from scenesearch.runtime.server_signals import ended_by_signals as e; c = e(); "
        "c.__enter__()",
    ],
)
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_in_a_weak_references_callback_is_not_lost(
    name: str, status: int, page: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CODE.format(name=name, page=page)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == (f"ended {status}\n", "")


def test_other_exceptions_that_python_throws_away_are_still_shown() -> None:
    code = (
        CODE.format(name="SIGINT", page="")
        .replace("signal.raise_signal(signal.SIGINT)", "1 / 0")
        .replace("time.sleep(20)", "pass")
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == "went on\n"
    assert "ZeroDivisionError" in ran.stderr
