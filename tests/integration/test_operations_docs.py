"""docs/operations.md: its commands are run, and print what stands there."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from click import Group

from scenesearch.commands.app import app
from tests.cli import CommandLine

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "operations.md"


@dataclass(frozen=True)
class Step:
    """A command of the document and the output that stands below it."""

    command: str
    expected: list[str]


def steps() -> Iterator[Step]:
    for block in re.findall(r"^```console\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.M):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *expected = part.rstrip("\n").split("\n")
            yield Step(command, expected)


STEPS = list(steps())
PLANS = [step for step in STEPS if step.command.startswith("scenesearch library plan")]
DRILL = [step for step in STEPS if step not in PLANS]


def fits(expected: list[str], printed: list[str]) -> bool:
    """Whether the lines are those; '...' stands for any text, alone for any number of lines."""
    pattern = "\n".join(
        ".*" if line == "..." else ".*?".join(map(re.escape, line.split("...")))
        for line in expected
    )
    return re.fullmatch(pattern, "\n".join(printed), re.DOTALL) is not None


def said(run: CommandLine, command: str) -> list[str]:
    """Messages, then results, as the document shows them."""
    ran = run(*shlex.split(command)[1:])
    messages = [line for line in ran.err.splitlines() if line.startswith("scenesearch: ")]
    return [line.rstrip() for line in (*messages, *ran.out.splitlines())]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    for name in ("LIBRARY", "ENCODER", "QDRANT_URL", "MIN_RELEVANCE", "THREADS"):
        monkeypatch.delenv(f"SCENESEARCH_{name}", raising=False)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "drill"))
    return CommandLine(monkeypatch, capsys)


@pytest.mark.parametrize("step", PLANS, ids=lambda step: step.command.partition("plan ")[2])
def test_what_a_library_costs_stands_there_as_it_is_printed(run: CommandLine, step: Step) -> None:
    assert said(run, step.command) == step.expected


def test_one_million_a_hundred_million_and_a_thousand_million_are_planned() -> None:
    sizes = [re.search(r"--images (\d+)", step.command) for step in PLANS]
    assert {int(size[1]) for size in sizes if size} >= {10**6, 10**8, 10**9}


@pytest.mark.slow
def test_the_drills_print_what_stands_there(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "scenesearch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m scenesearch.cli "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{Path(sys.executable).parent}:/usr/bin:/bin")
    project = str(DOCUMENT.parent.parent)
    monkeypatch.setenv("PYTHONPATH", project)
    for step in DRILL:
        if step.command.startswith("export "):
            continue  # as the fixture does
        if step.command.startswith("scenesearch "):
            printed = said(run, step.command)
        else:
            done = subprocess.run(
                ["bash", "-c", step.command], capture_output=True, text=True, check=True
            )
            printed = done.stdout.splitlines()
        assert fits(step.expected, printed), (step.command, step.expected, printed)


def test_commands_without_output_are_commands_that_exist() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.M)
    commands = [
        line.partition("scenesearch ")[2] for block in blocks for line in block.splitlines()
    ]
    assert commands
    for words in map(shlex.split, filter(None, commands)):
        found = typer.main.get_command(app)
        while isinstance(found, Group) and words[0] in found.commands:
            found, words = found.commands[words[0]], words[1:]
        found.make_context("scenesearch", words)


def test_what_does_not_fit_is_noticed() -> None:
    assert fits(["a ... c", "..."], ["a b c", "x", "y"])
    assert not fits(["a ... c"], ["a b d"])
    assert not fits(["a"], ["a", "b"])
