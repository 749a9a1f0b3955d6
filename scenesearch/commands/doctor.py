"""`scenesearch library doctor`: what is wrong with a library, and the command that repairs it."""

import sys
from functools import partial
from typing import Annotated, Any

import typer

from scenesearch.commands.common import LibraryArgument, LibraryOption, choose_library
from scenesearch.commands.console import (
    FOUND,
    NOTHING,
    JsonOption,
    print_json,
    printable,
    progress_bar,
    say,
)


def doctor(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    every: Annotated[bool, typer.Option("--all", help="Examine every library.")] = False,
    mend: Annotated[
        bool,
        typer.Option(
            "--mend",
            help="Repair what is safe to repair: thumbnails, stale rejects, fields, what stopped "
            "processes left behind.",
        ),
    ] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Also check originals at remote addresses, one by one.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare store, rejects and files; say what is wrong and how to repair it.

    Exits with 0 when nothing is wrong, with 1 when something is. Changes nothing without --mend.
    """
    from ingest.doctor import examine, examine_store, is_well
    from scenesearch.store.catalog import read_catalog

    installation, name = choose_library(library, named)
    with installation.store(reading=not mend) as store, progress_bar() as progress:
        engine = store.health()
        catalog = read_catalog(store)
        findings = examine_store(store, mend=mend)
        names = list(catalog.libraries) if every else [name]
        unfinished = dict(catalog.unfinished).values()
        if not every and name not in catalog.libraries and name in unfinished:
            names = []  # it was never made, and the findings say so
        for each in names:
            task = progress.add_task(f"examining {each}", total=None)
            findings += examine(
                each,
                store=store,
                library_dir=installation.files(each).folder,
                find_encoder=installation.encoder_of,
                originals=installation.originals,
                mend=mend,
                remote=remote,
                max_megapixels=installation.settings.max_megapixels,
                on_progress=partial(_show, progress, task),
                on_wait=say,
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
