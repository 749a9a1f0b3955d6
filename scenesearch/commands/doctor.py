"""`scenesearch library doctor`: what is wrong with a library, and the command that mends it."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.collections import waiting
from scenesearch.commands.common import LibraryArgument, LibraryOption, chosen_library, open_store
from scenesearch.commands.console import (
    FOUND,
    NOTHING,
    JsonOption,
    print_json,
    printable,
    progress_bar,
    read_settings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from scenesearch.store.base import CollectionSpec


def doctor(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every library there is.")] = False,
    mend: Annotated[
        bool,
        typer.Option(
            "--mend",
            help="Mend what is safe to mend: thumbnails, stale rejects, fields, what stopped "
            "processes left.",
        ),
    ] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Also ask for originals at addresses, one by one.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare store, rejects and files: say what is wrong and what mends it.

    Exits with 0 when nothing is wrong, with 1 when something is. Nothing is changed without --mend.
    """
    from ingest.doctor import examine, examine_store, is_well
    from scenesearch.encoder.registry import find_by_fingerprint
    from scenesearch.home.ingested import ingested
    from scenesearch.store.catalog import read_catalog

    settings = read_settings()
    name = chosen_library(library, named, settings.library)

    def find_encoder(spec: "CollectionSpec") -> "Path":
        return find_by_fingerprint(
            spec.fingerprint,
            spec.encoder,
            default=settings.encoder,
            shelf=settings.models_dir,
            file=settings.known_encoders,
        )

    with open_store(settings, reading=not mend) as store, progress_bar() as progress:
        engine = store.health()
        catalog = read_catalog(store)
        findings = examine_store(store, mend=mend)
        names = list(catalog.libraries) if every else [name]
        if (
            not every
            and name not in catalog.libraries
            and name in dict(catalog.unfinished).values()
        ):
            names = []  # nothing of it was ever made; the findings say so
        for each in names:
            task = progress.add_task(f"examining {each}", total=None)
            findings += examine(
                each,
                store=store,
                library_dir=settings.library_dir(each),
                find_encoder=find_encoder,
                originals=ingested(settings),
                mend=mend,
                remote=remote,
                max_megapixels=settings.max_megapixels,
                on_progress=partial(_show, progress, task),
                on_wait=waiting,
            )
    well = is_well(findings)
    if as_json:
        print_json(
            {
                "engine": engine,
                "libraries": names,
                "well": well,
                "findings": [one.to_json() for one in findings],
            }
        )
    else:
        for one in findings:
            typer.echo(printable(f"{one.level}: {one.text}"))
            for example in one.examples:
                typer.echo(printable(f"  {example}"))
            if one.mend and one.level != "mended":
                typer.echo(printable(f"  -> {one.mend}"))
        wrong = sum(one.level == "wrong" for one in findings)
        typer.echo(
            f"{', '.join(names) or 'no library'}: "
            + ("nothing is wrong" if well else f"{wrong} thing{'s' * (wrong > 1)} wrong")
        )
    sys.exit(FOUND if well else NOTHING)


def _show(progress: Any, task: Any, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)
