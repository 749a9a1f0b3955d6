"""What all commands do alike: results on stdout, messages and progress on stderr, exit status."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from scenesearch.settings import Settings

FOUND, NOTHING, FAILED, INTERRUPTED = 0, 1, 2, 130

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def read_settings() -> "Settings":
    from pydantic import ValidationError

    from scenesearch.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        fail(f"SCENESEARCH_{str(first['loc'][0]).upper()}: {first['msg']}")


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A bar with rate and time left on stderr; plain lines where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.0f}/s" if speed else "")

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
    ) as progress:
        yield progress


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, indent=1))


def printable(text: str) -> str:
    """One line without control characters: names and captions come from strangers."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def say(message: str) -> None:
    typer.echo(f"scenesearch: {printable(message)}", err=True)


def fail(message: str, status: int = FAILED) -> NoReturn:
    say(message)
    sys.exit(status)
