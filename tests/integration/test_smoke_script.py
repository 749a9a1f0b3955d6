"""deploy/smoke_test.sh from the first step to its verdict, with a stand-in for docker."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

# It took five minutes, and ten beside other work.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

ROOT = Path(__file__).parents[2]


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of an operator whose `docker` is the stand-in."""
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.docker_stand_in "$@"\n'
    )
    docker.chmod(0o755)
    page, rest, grpc, api, http, https = map(str, free_ports(6))
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "STAND_IN_STATE": str(tmp_path / "state"),
        "PAGE_PORT": page,
        "QDRANT_PORT": rest,
        "QDRANT_GRPC_PORT": grpc,
        "API_PORT": api,
        "HTTP_PORT": http,
        "HTTPS_PORT": https,
    }


def run_script(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    script = ROOT / "deploy" / "smoke_test.sh"
    return subprocess.run(
        [script, *words], env=environment, capture_output=True, text=True, timeout=2900
    )


def test_the_script_reaches_its_verdict(environment: dict[str, str]) -> None:
    ran = run_script(environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "PASS  it answers, and finds with the key" in ran.stdout
    assert "VERDICT: the stack works" in ran.stdout
    assert not list(Path(environment["STAND_IN_STATE"]).iterdir())


def test_a_cluster_loses_each_node_in_turn(environment: dict[str, str]) -> None:
    ran = run_script(environment, "--cluster")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for node in ("qdrant", "qdrant-2", "qdrant-3"):
        assert f"PASS  three searches without {node}\n" in ran.stdout
    assert "PASS  all 300 on every node" in ran.stdout
    assert "VERDICT: the stack works" in ran.stdout


def test_an_unknown_option_is_refused(environment: dict[str, str]) -> None:
    ran = run_script(environment, "--clutser")
    assert (ran.returncode, ran.stderr) == (2, "deploy/smoke_test.sh takes --cluster or nothing\n")


def test_a_check_that_fails_is_the_verdict(environment: dict[str, str]) -> None:
    ran = run_script(environment | {"STAND_IN_OPEN": "yes"})
    assert ran.returncode == 1
    assert "FAIL  Qdrant answers without a key" in ran.stdout
    assert "VERDICT: the stack does NOT work" in ran.stdout


def test_a_missing_program_is_named_before_anything_is_begun(environment: dict[str, str]) -> None:
    tools = Path(environment["HOME"]) / "tools"
    tools.mkdir()
    for name in ("bash", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    ran = run_script(environment | {"PATH": str(tools)})
    assert ran.returncode == 2
    assert ran.stderr == "deploy/smoke_test.sh needs docker, which is not installed\n"
    assert ran.stdout == ""
