"""`scenesearch ui`."""

import sys
from typing import Annotated

import typer

from scenesearch.commands.common import LibraryOption
from scenesearch.commands.console import fail, read_settings


def ui(
    library: LibraryOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    hash_password: Annotated[
        bool,
        typer.Option("--hash-password", help="Ask for a password and print the setting for it."),
    ] = False,
) -> None:
    """Open the search page in the browser."""
    try:
        from ui import access
        from ui.launch import run_page
    except ModuleNotFoundError as error:
        missing = error.name
        fail(f"the page needs {missing}: pip install -e '.[ui]'")
    if hash_password:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        typer.echo(f"SCENESEARCH_PAGE_PASSWORD={access.hash_password(password)}")
        return
    settings = read_settings()
    sys.exit(run_page(port=port, address=address, library=library or settings.library))
