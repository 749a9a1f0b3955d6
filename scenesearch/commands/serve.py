"""`scenesearch serve`."""

import sys
from typing import Annotated, Literal

import typer

from scenesearch.commands.console import fail, read_settings, say


def serve(
    library: Annotated[
        list[str] | None,
        typer.Option(
            "--library",
            "-l",
            help="Library to offer, the first by default; may be repeated. Default: all, "
            "SCENESEARCH_LIBRARY first.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; any but this machine's own needs keys."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8600,
    allow_write: Annotated[
        bool,
        typer.Option(
            "--allow-write",
            help="Let assistants at /mcp change captions, tags and fields, and remove pictures, "
            "where their key allows it.",
        ),
    ] = False,
    new_key: Annotated[
        str | None,
        typer.Option(
            "--new-key",
            metavar="NAME",
            help="Print a new key, and its entry for SCENESEARCH_API_KEYS, and exit.",
        ),
    ] = None,
    scope: Annotated[
        Literal["read", "write", "admin"] | None,
        typer.Option(
            help="With --new-key: what it allows, each including those before. Default: read."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            "-w",
            metavar="EXPR",
            help="With --new-key: the only pictures that there are for it, as a filter like "
            "'folder:public/*'. --library names its only libraries.",
        ),
    ] = None,
) -> None:
    """Answer other programs over HTTP: search, pictures, uploads (docs/api.md)."""
    try:
        from serve.keys import new_key as make_key
        from serve.launch import run_server
    except ModuleNotFoundError as error:
        fail(f"the server needs {error.name}: pip install -e '.[serve]'")
    if new_key is not None:
        secret, entry = make_key(new_key, [scope or "read"], library or (), where or "")
        say("the key is shown once; only its hash is kept in SCENESEARCH_API_KEYS")
        typer.echo(f"key: {secret}\nentry: {entry}")
        return
    if scope or where:
        fail("--scope and --where go with --new-key")
    sys.exit(
        run_server(
            read_settings(),
            host=host,
            port=port,
            libraries=library or (),
            allow_write=allow_write,
        )
    )
