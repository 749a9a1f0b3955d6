"""`scenesearch demo`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from scenesearch.commands.common import (
    load_encoder,
    open_store,
)
from scenesearch.commands.console import (
    interrupted,
    progress_bar,
    read_settings,
)
from scenesearch.commands.evaluate import print_evaluation, read_queries, run_evaluation
from scenesearch.commands.ingest import print_ingest_report, run_ingest
from scenesearch.commands.search import print_hits, write_sheet


def demo(
    size: Annotated[int, typer.Option(min=20, max=5000, help="Pictures to draw.")] = 300,
    sheet: Annotated[Path, typer.Option(help="Where the example's answer is saved.")] = Path(
        "demo.jpg"
    ),
) -> None:
    """Draw a sample library, index it, search it and measure it: everything works, offline."""
    from ingest.source import Roots
    from ingest.sources import find_sources
    from scenesearch.runtime.files import make_private, private_folder
    from scenesearch.sample.library import write_library
    from scenesearch.search.searcher import Searcher

    settings = read_settings()
    started = time.perf_counter()
    folder = private_folder(settings.data_dir / "demo-pictures")
    with progress_bar() as progress:
        task = progress.add_task("drawing", total=size)
        drawn = write_library(
            folder, size=size, progress=lambda done: progress.update(task, completed=done)
        )
    make_private(folder)
    loaded = load_encoder(settings, None)
    roots = Roots(settings.library_dir("demo") / "sources.json")
    with open_store(settings) as store:
        report = run_ingest(find_sources([folder], roots=roots), "demo", loaded, store, settings)
        print_ingest_report(report)
        if report.interrupted:
            interrupted("interrupted; run the same command again to continue")
        queries = read_queries(drawn.test_queries, [])
        evaluation = run_evaluation(queries, loaded, store, "demo")
        print_evaluation(evaluation)
        example = drawn.example_query
        result = Searcher(loaded, store, "demo").search(example, k=5)
    typer.echo(f'\nscenesearch search --library demo "{example}" -k 5')
    print_hits(result, settings)
    write_sheet(sheet, result, settings)
    typer.echo(
        f"\nThese five pictures: {sheet}\n"
        f"Done in {time.perf_counter() - started:.0f} s.\n\n"
        "See it in a page:       make ui\n"
        "Index your own folder:  .venv/bin/scenesearch ingest PATH/TO/PHOTOS\n"
        'Search it:              .venv/bin/scenesearch search "a dog on a beach"'
    )
