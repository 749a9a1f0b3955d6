"""The `scenesearch` command: results on stdout, progress and messages on stderr.

Applications and libraries are imported inside the commands, so that each starts fast.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from scenesearch.console import (
    FOUND,
    INTERRUPTED,
    NOTHING,
    JsonOption,
    fail,
    print_json,
    printable,
    progress_bar,
    read_settings,
    say,
)
from scenesearch.errors import SceneSearchError
from scenesearch.evaluate_cli import check_requirements, evaluate_app, measure, print_agreement
from scenesearch.models_cli import models_app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.pipeline import IngestReport
    from ingest.sources import Source
    from scenesearch.datasets.queries import Query
    from scenesearch.encoder.base import Encoder
    from scenesearch.evaluation.evaluate import Evaluation
    from scenesearch.searcher import SearchResult
    from scenesearch.settings import Settings
    from scenesearch.store.base import VectorStore

# A filter can leave out hundreds of queries; the first few show why.
MOST_OMISSIONS = 10

app = typer.Typer(
    help="Describe a scene in words, get the photographs that show it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
library_app = typer.Typer(help="What a library holds and how it is kept.", no_args_is_help=True)
app.add_typer(library_app, name="library")
app.add_typer(models_app, name="models")
app.add_typer(evaluate_app, name="evaluate")

LibraryOption = Annotated[
    str | None, typer.Option("--library", "-l", help="Library; default: SCENESEARCH_LIBRARY.")
]
EncoderOption = Annotated[
    str | None,
    typer.Option("--encoder", "-e", help="Name or folder; default: SCENESEARCH_ENCODER."),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="EXPR",
        help="Condition on metadata, may be repeated: orientation=landscape, taken=2019..2021, "
        "width>=2000, camera=Canon*, tags in sea,boat, folder=2020, captions=red boat, "
        "camera!=Nikon, location=55.75,37.62,50km.",
    ),
]


def main() -> NoReturn:
    """Run the command line; a user's mistake is one sentence on stderr and exit status 2."""
    try:
        app()
    except SceneSearchError as error:
        fail(f"{error}{_hint(error)}")
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FOUND)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}")
    sys.exit(FOUND)


@app.command()
def ingest(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders, pictures, manifests (CSV, TSV, JSONL, Parquet)."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Manifest with an 'image' column; PATH is where its pictures lie."),
    ] = None,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Threads that decode and encode; default: one per core."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Pictures encoded together.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring pictures with their metadata into a library; run it again to continue or refresh.

    Unchanged pictures are skipped, changed ones replaced, broken ones listed with their reason.
    """
    from ingest.sources import Roots, find_sources

    settings = read_settings()
    name = _library_name(library or settings.library)
    if not paths and manifest is None:
        fail("nothing to ingest: give a folder, a picture or a manifest")
    roots = Roots(settings.library_dir(name) / "sources.json")
    sources = find_sources(paths or [], roots=roots, manifest=manifest)
    with _open_store(settings) as store:
        report = _ingest(
            sources,
            name,
            _load_encoder(settings, encoder, verify=True),
            store,
            settings,
            workers=workers,
            batch_size=batch_size,
        )
    if as_json:
        print_json(report.to_json())
    else:
        _print_ingest_report(report)
    if report.interrupted:
        fail("interrupted; run the same command again to continue", INTERRUPTED)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What the picture shows, in words.")],
    where: WhereOption = None,
    k: Annotated[int, typer.Option("-k", min=1, max=10_000, help="How many pictures.")] = 10,
    min_relevance: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out less relevant ones; 0 always answers."),
    ] = None,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Save the pictures as a contact sheet (.jpg, .png).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the pictures that show the scene. Exits 0 when found, 1 when nothing matches."""
    from scenesearch.query import parse_where
    from scenesearch.searcher import Searcher

    settings = read_settings()
    name = _library_name(library or settings.library)
    with _open_store(settings) as store:
        searcher = Searcher(_load_encoder(settings, encoder), store, name)
        result = searcher.search(
            text,
            k=k,
            where=parse_where(where or [], searcher.fields),
            min_relevance=settings.min_relevance if min_relevance is None else min_relevance,
        )
    if sheet is not None and result.hits:
        _write_sheet(sheet, result)
    if as_json:
        print_json(result.to_json())
    else:
        _print_hits(result)
    sys.exit(FOUND if result.hits else NOTHING)


@evaluate_app.callback()
def evaluate(
    context: typer.Context,
    queries: Annotated[
        Path | None, typer.Option(help="test_queries.csv, or a table with query_text and images.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the gallery's pictures.")] = None,
    library: Annotated[
        str | None, typer.Option("--library", "-l", help="Or: a library as it is now.")
    ] = None,
    where: WhereOption = None,
    encoder: EncoderOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for run.trec, qrels.trec, per_query.parquet, summary."),
    ] = None,
    expert: Annotated[
        Path | None, typer.Option(help="ExpertAnnotations.tsv: agreement with its grades, tau-c.")
    ] = None,
    crowd: Annotated[
        Path | None, typer.Option(help="CrowdAnnotations.tsv: agreement with its votes, tau-b.")
    ] = None,
    captions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Texts of the judged queries (captions.tsv, train_dataset.csv); may be repeated. "
            "Default: those beside the judgments."
        ),
    ] = None,
    by_slice: Annotated[
        bool, typer.Option("--slices", help="Also by length and by what the queries name.")
    ] = False,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC>=NUMBER",
            help='Exit with 1 unless it holds, e.g. "recall@10>=0.9"; may be repeated.',
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure search: ask every query of a folder's pictures or a library, compare the answers."""
    if context.invoked_subcommand is not None:
        return
    from scenesearch.query import parse_where

    judged = [file for file in (expert, crowd) if file is not None]
    if queries is None and not judged:
        fail("evaluate needs --queries FILE; `scenesearch evaluate template` makes one to fill")
    if queries is None and (require or out or by_slice or where):
        fail("--require, --out, --slices and --where are about queries: give --queries FILE too")
    if (images is None) == (library is None):
        fail("evaluate needs the gallery: --images FOLDER or --library NAME, one of them")
    settings = read_settings()
    loaded = _load_encoder(settings, encoder, verify=True)
    document: dict[str, Any] = {}
    missed: list[str] = []
    with _gallery(settings, loaded, images, library) as (store, name):
        if queries is not None:
            conditions = parse_where(where or [], store.describe(name).fields)
            evaluation = _evaluate(_read_queries(queries), loaded, store, name, where=conditions)
            document = evaluation.to_json()
            missed = check_requirements(require or [], evaluation.metrics)
            if out is not None:
                evaluation.save(out)
                say(f"run, per-query table and summary: {out}")
            if not as_json:
                _print_evaluation(evaluation, by_slice=by_slice)
        if judged:
            agreement = measure(loaded, store, name, expert, crowd, captions or [])
            document["agreement"] = agreement.to_json()
            if not as_json:
                print_agreement(agreement)
    if as_json:
        print_json(document)
    for sentence in missed:
        say(sentence)
    if missed:
        sys.exit(NOTHING)


@app.command()
def demo(
    size: Annotated[int, typer.Option(min=20, max=5000, help="Pictures to draw.")] = 300,
    sheet: Annotated[Path, typer.Option(help="Where the example's answer is saved.")] = Path(
        "demo.jpg"
    ),
) -> None:
    """Draw a sample library, index it, search it and measure it: everything works, offline."""
    from ingest.sources import Roots, find_sources
    from scenesearch.datasets.drawn import write_library
    from scenesearch.searcher import Searcher

    settings = read_settings()
    started = time.perf_counter()
    folder = settings.data_dir / "demo-pictures"
    with progress_bar() as progress:
        task = progress.add_task("drawing", total=size)
        drawn = write_library(
            folder, size=size, progress=lambda done: progress.update(task, completed=done)
        )
    loaded = _load_encoder(settings, None)
    roots = Roots(settings.library_dir("demo") / "sources.json")
    with _open_store(settings) as store:
        report = _ingest(find_sources([folder], roots=roots), "demo", loaded, store, settings)
        _print_ingest_report(report)
        if report.interrupted:
            fail("interrupted; run the same command again to continue", INTERRUPTED)
        queries = _read_queries(drawn.test_queries)
        evaluation = _evaluate(queries, loaded, store, "demo")
        _print_evaluation(evaluation)
        example = drawn.example_query
        result = Searcher(loaded, store, "demo").search(example, k=5)
    typer.echo(f'\nscenesearch search --library demo "{example}" -k 5')
    _print_hits(result)
    _write_sheet(sheet, result)
    typer.echo(
        f"\nThese five pictures: {sheet}\n"
        f"Done in {time.perf_counter() - started:.0f} s.\n\n"
        "See it in a page:       make ui\n"
        "Index your own folder:  .venv/bin/scenesearch ingest PATH/TO/PHOTOS\n"
        'Search it:              .venv/bin/scenesearch search "a dog on a beach"'
    )


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the run: a new one, or see --resume.")],
    recipe: Annotated[
        str, typer.Option(help="task, clip, smoke, lite, or a .toml file with your own values.")
    ] = "task",
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Folder in the task's format, manifest with captions, or drawn:COUNT; SOURCE=2 "
            "counts double; may be repeated. Default: the recipe's.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Encoder to start from: lite, folder or hub id; default: the recipe's."),
    ] = None,
    evaluate_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Folder or manifest that must not be trained on, measured before and after; may "
            "be repeated. The test set of a task folder always is one.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another value than the recipe's."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in the folder stopped.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune an encoder on captioned pictures and judgments; leaves an encoder folder."""
    try:
        from training.run import train as run_training
    except ModuleNotFoundError as error:
        missing = error.name
        fail(f"training needs {missing}: pip install 'scenesearch[train]'")
    with progress_bar() as progress:
        task = progress.add_task("training", total=None)

        def on_step(done: int, total: int, loss: float) -> None:
            progress.update(
                task, completed=done, total=total, description=f"training, loss {loss:.3f}"
            )

        summary = run_training(
            recipe,
            out=out,
            data=data or [],
            base=base,
            evaluate_on=evaluate_on or [],
            overrides=changes or [],
            resume=resume,
            shelf=read_settings().models_dir,
            log=lambda line: progress.console.print(printable(line), markup=False),
            on_step=on_step,
        )
    if as_json:
        print_json(summary)
    else:
        _print_training(summary)


@app.command()
def ui(
    library: LibraryOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
) -> None:
    """Open the search page in the browser."""
    try:
        from ui.launch import run_page
    except ModuleNotFoundError as error:
        missing = error.name
        fail(f"the page needs {missing}: pip install 'scenesearch[ui]'")
    settings = read_settings()
    sys.exit(run_page(port=port, address=address, library=library or settings.library))


@library_app.command("status")
def library_status(library: LibraryOption = None, as_json: JsonOption = False) -> None:
    """What a library holds: pictures, encoder, fields, rejects of the last ingest."""
    settings = read_settings()
    name = _library_name(library or settings.library)
    rejects_file = settings.library_dir(name) / "rejects.jsonl"
    rejects = rejects_file.read_text().splitlines() if rejects_file.exists() else []
    with _open_store(settings) as store:
        spec = store.describe(name)
        status: dict[str, Any] = {
            "library": name,
            "collection": store.resolve(name),
            "pictures": store.count(name),
            "encoder": spec.encoder,
            "fingerprint": spec.fingerprint,
            "dimension": spec.dimension,
            "fields": [field.name for field in spec.fields],
            "rejects": [json.loads(line) for line in rejects],
            "engine": store.health(),
        }
    if as_json:
        print_json(status)
        return
    for key, value in status.items():
        if key == "rejects":
            typer.echo(f"{key:<12} {len(value)} at the last ingest")
            for reject in value:
                line = printable(f"{reject['path']}: {reject['reason']}")
                typer.echo(f"{'':<12} {line}")
        else:
            typer.echo(f"{key:<12} {', '.join(value) if isinstance(value, list) else value}")


def _hint(error: SceneSearchError) -> str:
    """What to do about it, where the error's own layer cannot know the command."""
    from scenesearch.store.base import CollectionMissing

    if isinstance(error, CollectionMissing):
        return "; `scenesearch ingest PATH --library NAME` makes a library"
    return ""


def _library_name(name: str) -> str:
    from scenesearch.library import check_library_name

    return check_library_name(name)


@contextmanager
def _open_store(settings: "Settings") -> Iterator["VectorStore"]:
    from scenesearch.store.open import open_store

    key = settings.qdrant_api_key
    store = open_store(
        edge_dir=settings.edge_dir,
        qdrant_url=settings.qdrant_url,
        qdrant_api_key=key.get_secret_value() if key else None,
        grpc_port=settings.qdrant_grpc_port,
        timeout_s=settings.qdrant_timeout_s,
    )
    with closing(store):
        yield store


def _load_encoder(settings: "Settings", name: str | None, *, verify: bool = False) -> "Encoder":
    """The encoder; with `verify`, every byte of its folder is checked before much work starts."""
    from scenesearch.encoder.folder import verify_encoder
    from scenesearch.encoder.onnx import OnnxEncoder
    from scenesearch.encoder.registry import find_encoder

    folder = find_encoder(name or settings.encoder, settings.models_dir)
    if verify:
        verify_encoder(folder)
    # Pictures are only encoded by ingest here, whose workers call the encoder side by side.
    return OnnxEncoder(folder, threads=settings.threads, image_threads=1)


def _ingest(
    sources: "Sequence[Source]",
    library: str,
    encoder: "Encoder",
    store: "VectorStore",
    settings: "Settings",
    *,
    workers: int | None = None,
    batch_size: int | None = None,
    keep_thumbnails: bool = True,
) -> "IngestReport":
    """Ingest with a progress bar on stderr."""
    from ingest.pipeline import IngestOptions
    from ingest.pipeline import ingest as run_ingest
    from scenesearch.encoder.onnx import usable_cores

    total = sum(source.count for source in sources)
    own = settings.library_dir(library) if keep_thumbnails else None
    with progress_bar() as progress:
        task = progress.add_task("ingesting", total=total)
        return run_ingest(
            sources,
            library=library,
            encoder=encoder,
            store=store,
            thumbnails_dir=own / "thumbnails" if own else None,
            rejects_file=own / "rejects.jsonl" if own else None,
            options=IngestOptions(
                workers=workers or settings.threads or usable_cores(),
                batch_size=batch_size or settings.batch_size,
                max_megapixels=settings.max_megapixels,
            ),
            on_progress=lambda report: progress.update(task, completed=report.seen),
        )


def _read_queries(file: Path) -> "Sequence[Query]":
    """The file's queries; rows that cannot be used are said on stderr."""
    from scenesearch.datasets.queries import read_queries

    read = read_queries(file)
    for problem in read.problems:
        say(f"left out: {problem.file}:{problem.line}: {problem.reason}")
    return read.queries


@contextmanager
def _gallery(
    settings: "Settings", encoder: "Encoder", images: Path | None, library: str | None
) -> Iterator[tuple["VectorStore", str]]:
    """The store and the collection to ask: a library, or a folder indexed for the moment."""
    from ingest.sources import Roots, find_sources
    from scenesearch.store.edge import EdgeStore

    if images is None:
        with _open_store(settings) as store:
            yield store, _library_name(library or "")
        return
    with (
        tempfile.TemporaryDirectory(prefix="scenesearch-") as folder,
        closing(EdgeStore(Path(folder))) as store,
    ):
        sources = find_sources([images], roots=Roots())
        report = _ingest(sources, "evaluation", encoder, store, settings, keep_thumbnails=False)
        if report.interrupted:
            fail("interrupted", INTERRUPTED)
        for reject in report.rejects:
            say(f"not in the gallery: {reject.path}: {reject.reason}")
        yield store, "evaluation"


def _evaluate(
    queries: "Sequence[Query]",
    encoder: "Encoder",
    store: "VectorStore",
    library: str,
    *,
    where: Any = (),
) -> "Evaluation":
    """Ask every query, with a progress bar on stderr."""
    from scenesearch.evaluation.evaluate import evaluate as run_evaluation

    with progress_bar() as progress:
        task = progress.add_task("asking", total=len(queries))
        return run_evaluation(
            queries,
            encoder=encoder,
            store=store,
            library=library,
            where=where,
            on_progress=lambda done: progress.update(task, completed=done),
        )


def _print_ingest_report(report: "IngestReport") -> None:
    for reject in report.rejects:
        say(f"rejected: {reject.path}: {reject.reason}")
    typer.echo(
        f"{report.library}: {report.seen} seen, {report.written} written, "
        f"{report.skipped} skipped, {len(report.rejects)} rejected, "
        f"{report.images_per_s:.0f} pictures/s"
    )


def _print_hits(result: "SearchResult") -> None:
    if not result.hits:
        nearest = result.nearest
        hint = (
            f"; nearest is {nearest.image_id} at {nearest.relevance:.0%}, "
            "see it with --min-relevance 0"
            if nearest
            else ""
        )
        say(f"nothing in library {result.library} matches {result.query!r}{hint}")
        return
    for hit in result.hits:
        captions = hit.payload.get("captions") or [""]
        typer.echo(
            f"{hit.rank:>3}  {hit.relevance:>4.0%}  {hit.score:.3f}  "
            f"{printable(hit.path)}  {printable(captions[0])}".rstrip()
        )


def _print_evaluation(evaluation: "Evaluation", *, by_slice: bool = False) -> None:
    for omission in evaluation.omissions[:MOST_OMISSIONS]:
        say(omission.sentence())
    if len(evaluation.omissions) > MOST_OMISSIONS:
        say(f"and {len(evaluation.omissions) - MOST_OMISSIONS} more; --json lists all")
    left_out = f" ({evaluation.left_out} left out)" if evaluation.left_out else ""
    typer.echo(
        f"\nencoder {evaluation.encoder}, gallery of {evaluation.gallery} pictures, "
        f"{evaluation.query_count} queries{left_out}"
    )
    for metric, value, interval in evaluation.rows():
        typer.echo(f"  {metric:<12} {value:>8}   {interval}")
    if by_slice:
        typer.echo(f"\n  {'queries with':<18} {'count':>6}  Recall@10   95 % interval")
        for part in evaluation.slices:
            low, high = (100 * end for end in part.ci95["recall@10"])
            typer.echo(
                f"  {part.name:<18} {part.queries:>6}  {100 * part.metrics['recall@10']:>7.1f} %   "
                f"{low:.1f} % – {high:.1f} %"
            )


def _print_training(summary: dict[str, Any]) -> None:
    for place, found in summary.get("evaluation", {}).items():
        typer.echo(
            f"\n{printable(place)}: {found['queries']} queries, "
            f"gallery of {found['gallery']} pictures"
        )
        for metric, (value, _, _) in found["before"].items():
            after, (gain, low, high) = found["after"][metric][0], found["gain"][metric]
            typer.echo(
                f"  {metric:<10} {value:>5.1f} -> {after:>5.1f}   "
                f"gain {gain:+.1f} ({low:+.1f} – {high:+.1f})"
            )
    typer.echo(f"\n{summary['name']}: {summary['encoder']}")


def _write_sheet(file: Path, result: "SearchResult") -> None:
    from scenesearch.sheet import SheetEntry, write_contact_sheet

    entries = [
        SheetEntry(
            Path(hit.path),
            f"{hit.rank}.  {hit.relevance:.0%}  {hit.image_id}",
            next(iter(hit.payload.get("captions") or [""])),
        )
        for hit in result.hits
    ]
    write_contact_sheet(file, result.query, entries)


if __name__ == "__main__":
    main()
