"""What all commands share: results on stdout, messages and progress on stderr, exit status."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from scenesearch.home import logs
from scenesearch.runtime import memory, signals

if TYPE_CHECKING:
    from rich.progress import Progress

    from scenesearch.home.settings import Settings

FOUND, NOTHING, FAILED = 0, 1, 2

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def read_settings() -> "Settings":
    """The settings. Variables and keys that are no setting are named on stderr."""
    from difflib import get_close_matches

    from pydantic import ValidationError

    from scenesearch.home.settings import PREFIX, Settings, unknown_settings

    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        fail(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}")
    logs.configure(settings)
    memory.set_limit(settings.memory_mb)
    for name, place in unknown_settings():
        # With their common prefix any two variables would look alike.
        prefix = PREFIX if name.startswith(PREFIX) else ""
        known = [each.upper() if prefix else each for each in Settings.model_fields]
        near = get_close_matches(name.removeprefix(prefix), known, n=1)
        meant = f"; did you mean {prefix}{near[0]}?" if near else ""
        say(f"{name} in {place} is no setting{meant}")
    return settings


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A bar with rate and time left on stderr; plain lines where stderr is no terminal.

    When the command fails, bars that have not moved yet are erased above its message.
    """
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
        disable=logs.for_machines(),
    ) as progress:
        try:
            yield progress
        except BaseException:
            _drop_unmoved(progress)
            raise


def _drop_unmoved(progress: "Progress") -> None:
    for task in progress.tasks:
        if not task.completed:
            progress.remove_task(task.id)
    if not progress.tasks:
        # Without it rich would leave the empty line below its bars.
        progress.live.transient = True
        progress.live.stop()
        progress.disable = True


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, indent=1))


def printable(text: str) -> str:
    """One line without control characters: names and captions come from strangers."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def say(message: str, *, level: int = logging.INFO) -> None:
    """One line on stderr: a sentence, or a JSON document where logs are JSON."""
    if logs.for_machines():
        logs.log_message(printable(message), level)
    else:
        typer.echo(f"scenesearch: {printable(message)}", err=True)


def interrupted(message: str = "interrupted") -> NoReturn:
    """Say that a signal ended the command, and exit with the status that a shell expects."""
    signals.first_notice()
    fail(message, signals.exit_status())


def fail(message: str, status: int = FAILED) -> NoReturn:
    say(message, level=logging.ERROR)
    sys.exit(status)
