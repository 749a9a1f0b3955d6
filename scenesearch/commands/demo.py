"""`scenesearch demo`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from scenesearch.commands.common import open_installation
from scenesearch.commands.console import progress_bar
from scenesearch.commands.evaluate import print_evaluation, read_queries, run_evaluation
from scenesearch.commands.ingesting import end_run, print_ingest_report, run_ingest
from scenesearch.commands.search import print_answer, write_sheet


def demo(
    size: Annotated[int, typer.Option(min=20, max=5000, help="How many pictures to draw.")] = 300,
    sheet: Annotated[Path, typer.Option(help="Where to save the example.")] = Path("demo.jpg"),
) -> None:
    """Draw a sample library, index it, search it and evaluate it. Works offline."""
    from ingest.sources.find import find_sources
    from ingest.sources.roots import Roots
    from scenesearch.notebook import Library
    from scenesearch.runtime.files import make_private, private_folder
    from scenesearch.sample.library import write_library

    installation = open_installation()
    started = time.perf_counter()
    folder = private_folder(installation.settings.data_dir / "demo-pictures")
    with progress_bar() as progress:
        task = progress.add_task("drawing", total=size)
        drawn = write_library(
            folder, size=size, progress=lambda done: progress.update(task, completed=done)
        )
    make_private(folder)
    loaded = installation.load_encoder(for_ingest=True)
    sources = find_sources([folder], roots=Roots(installation.files("demo").sources))
    with installation.store() as store:
        report = run_ingest(sources, "demo", loaded, store, installation)
        end_run(report, print_ingest_report)
        queries = read_queries(drawn.test_queries, [])
        evaluation = run_evaluation(queries, loaded, store, "demo")
        print_evaluation(evaluation)
        example = drawn.example_query
        answer = Library(installation, "demo", store, loaded).search(example, k=5, min_relevance=0)
    typer.echo(f'\nscenesearch search --library demo "{example}" -k 5')
    print_answer(answer)
    write_sheet(sheet, answer)
    typer.echo(
        f"\nThese five pictures: {sheet}\n"
        f"Done in {time.perf_counter() - started:.0f} s.\n\n"
        "See it in a page:       make ui\n"
        "Index your own folder:  .venv/bin/scenesearch ingest PATH/TO/PHOTOS\n"
        'Search it:              .venv/bin/scenesearch search "a dog on a beach"'
    )
