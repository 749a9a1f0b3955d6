"""Whether a command line of ours can be parsed: every command and option in it exists."""

from collections.abc import Sequence
from typing import Any

import typer

from scenesearch.commands.app import app


class UnparsedError(AssertionError):
    """The command line does not parse; the message says why."""


def parse(words: Sequence[str]) -> None:
    """Parse `scenesearch WORDS` without running anything; raises UnparsedError with the reason.

    --help, and a group of commands without any, which shows its help, are fine.
    """
    command: Any = typer.main.get_command(app)
    context: Any = None
    name: str | None = "scenesearch"
    rest = list(words)
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            rest = [*context._protected_args, *context.args]
            if not hasattr(command, "resolve_command") or not rest:
                return
            name, command, rest = command.resolve_command(context, rest)
    except typer.Exit:
        return
    except Exception as error:  # Typer's copy of click has its own classes, and hides them
        if type(error).__name__ in ("Exit", "NoArgsIsHelpError"):
            return
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        raise UnparsedError(f"scenesearch {' '.join(words)}: {message}") from error
