"""`scenesearch mcp`."""

from typing import Annotated

import typer

from scenesearch.commands.console import fail, read_settings


def mcp(
    library: Annotated[
        list[str] | None,
        typer.Option(
            "--library",
            "-l",
            help="Library to offer, the first by default; may be repeated. Default: all, "
            "SCENESEARCH_LIBRARY first.",
        ),
    ] = None,
    allow_write: Annotated[
        bool,
        typer.Option(
            "--allow-write",
            help="Let the assistant change captions, tags and fields, and remove pictures.",
        ),
    ] = False,
) -> None:
    """Let an assistant search, over standard input and output (MCP, docs/api.md)."""
    try:
        from serve.launch import run_assistant
    except ModuleNotFoundError as error:
        fail(f"the server needs {error.name}: pip install -e '.[serve]'")
    run_assistant(read_settings(), libraries=library or (), allow_write=allow_write)
