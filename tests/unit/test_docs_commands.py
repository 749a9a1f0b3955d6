"""Every command in README and docs exists: those of scenesearch parse, those of make and compose
are there, and each block is valid shell. What they do is tested where the commands are."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.parsed import parse

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def blocks(document: Path) -> Iterator[tuple[str, str]]:
    yield from re.findall(r"^```(sh|console)\n(.*?)^```", document.read_text(), re.M | re.S)


def commands(document: Path) -> Iterator[list[str]]:
    """The words of each command, without the shell around it."""
    for kind, block in blocks(document):
        lines = block.replace("\\\n", " ").splitlines()
        if kind == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
            lexer.whitespace_split = True
            command: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("|;&()"):
                    if command:
                        yield _plain(command)
                    command = []
                elif set(word) <= set("<>"):
                    command.append(word)
                else:
                    command.append(word)


def _plain(command: list[str]) -> list[str]:
    """Without variables set before it and files behind > or <."""
    while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
        command = command[1:]
    cut = next((n for n, word in enumerate(command) if set(word) <= set("<>")), len(command))
    return [word.removeprefix(".venv/bin/") for word in command[:cut]]


def check(words: list[str]) -> bool:
    """Whether the command is ours; raises AssertionError when it is and does not exist."""
    match words:
        case ["scenesearch", *rest]:
            parse(rest)
        case ["make", *rest]:
            for word in rest:
                assert word in TARGETS or "=" in word, f"make {word}"
        case ["docker", "compose", *rest]:
            _check_compose(rest)
        case [script, *_] if script.startswith("deploy/"):
            assert (ROOT / script).is_file(), script
        case _:
            return False
    return True


def _check_compose(words: list[str]) -> None:
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("-f", "--file"):
            assert (ROOT / rest.pop(0)).is_file()
        elif option in ("--project-name", "--env-file", "--profile"):
            rest.pop(0)
    verb, *rest = rest
    assert verb in {"up", "down", "run", "build", "logs", "ps", "restart", "stop", "pull", "exec"}
    names = [word for word in rest if word in SERVICES]
    if verb == "run":
        assert names, words
        name = names[0]
        given = rest[rest.index(name) + 1 :]
        service = SERVICES[name]
        entry = service.get("entrypoint", ["scenesearch"])
        parse([*entry[1:], *(given or service["command"])])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_of_a_document_exist(document: Path) -> None:
    for words in commands(document):
        check(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_blocks_of_a_document_are_valid_shell(document: Path) -> None:
    for kind, block in blocks(document):
        if kind == "sh":
            ran = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
            assert ran.returncode == 0, ran.stderr + block


def test_the_check_sees_what_is_wrong() -> None:
    assert not check(["git", "clone"])
    for words in (
        "scenesearch serch x",
        "scenesearch search x --nope",
        "make nothing",
        "docker compose -f deploy/compose.none.yml up",
        "docker compose run --rm admin libary status",
        "deploy/none.sh",
    ):
        with pytest.raises(AssertionError):
            check(words.split())


def test_enough_commands_are_found_to_mean_something() -> None:
    ours = sum(check(words) for document in DOCUMENTS for words in commands(document))
    assert ours > 60
