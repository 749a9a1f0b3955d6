"""The commands of `scenesearch`, a module each. Results go to stdout, messages to stderr.

Applications and heavy libraries are imported inside the commands, so that each starts fast.
"""

from typing import Annotated

import typer

from scenesearch.commands.backup import backup, restore
from scenesearch.commands.build import build
from scenesearch.commands.collections import collections_app
from scenesearch.commands.config import config_app
from scenesearch.commands.demo import demo
from scenesearch.commands.doctor import doctor
from scenesearch.commands.duplicates import library_duplicates
from scenesearch.commands.evaluate import evaluate_app
from scenesearch.commands.feedback import feedback_app
from scenesearch.commands.ingest import ingest
from scenesearch.commands.library import library_app
from scenesearch.commands.list import list_libraries
from scenesearch.commands.mcp import mcp
from scenesearch.commands.models import models_app
from scenesearch.commands.plan import plan
from scenesearch.commands.promote import promote, rollback
from scenesearch.commands.prune import prune
from scenesearch.commands.read_text import read_text
from scenesearch.commands.rejects import library_rejects
from scenesearch.commands.relocate import relocate
from scenesearch.commands.search import RequestCommand, search
from scenesearch.commands.serve import serve
from scenesearch.commands.show import library_show
from scenesearch.commands.status import status
from scenesearch.commands.tag import tag
from scenesearch.commands.train import train
from scenesearch.commands.ui import ui
from scenesearch.commands.watch_collection import watch_collection

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"scenesearch {version('scenesearch')}")
        raise typer.Exit


@app.callback()
def scenesearch(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Describe a scene in words, get the photographs that show it.

    Begin with `scenesearch ingest FOLDER`, then `scenesearch search a dog in the snow`.
    """


app.command()(ingest)
app.command(cls=RequestCommand)(search)
app.command(cls=RequestCommand)(tag)
for top_level in (demo, train, ui, serve, mcp, status, watch_collection):
    app.command()(top_level)
library_app.command("rejects")(library_rejects)
library_app.command("duplicates")(library_duplicates)
library_app.command("show")(library_show)
library_app.command("read-text")(read_text)
library_app.command("list")(list_libraries)
for command in (build, promote, rollback, prune, relocate, backup, restore, plan, doctor):
    library_app.command()(command)
app.add_typer(collections_app, name="collections")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(feedback_app, name="feedback")
app.add_typer(library_app, name="library")
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")
