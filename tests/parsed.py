"""Whether a command line of ours can be parsed: every command and option in it exists."""

from collections.abc import Sequence

import click
import typer

from scenesearch.cli import app


def parse(words: Sequence[str]) -> None:
    """Parse `scenesearch WORDS` without running anything; raises click.UsageError with the reason.

    A command without arguments that would show its help, and --help, are fine.
    """
    command: click.Command = typer.main.get_command(app)
    context: click.Context | None = None
    rest = list(words)
    name = "scenesearch"
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            if not isinstance(command, click.Group):
                return
            rest = [*context._protected_args, *context.args]
            if not rest and command.invoke_without_command:
                return
            name, command, rest = command.resolve_command(context, rest)
    except click.exceptions.Exit:
        return  # --help
    except click.exceptions.NoArgsIsHelpError:
        return
