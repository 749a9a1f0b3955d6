"""`scenesearch evaluate`, `evaluate compare` and `evaluate template`."""

import csv
import hashlib
import operator
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import EncoderOption, WhereOption, open_installation
from scenesearch.commands.console import (
    NOTHING,
    JsonOption,
    fail,
    interrupted,
    print_json,
    printable,
    progress_bar,
    say,
)
from scenesearch.commands.ingesting import run_ingest
from scenesearch.errors import obstacle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scenesearch.datasets.queries import Query
    from scenesearch.encoder.base import Encoder
    from scenesearch.evaluation.agreement import Agreement
    from scenesearch.evaluation.compare import Comparison
    from scenesearch.evaluation.diagnostics import Diagnostics
    from scenesearch.evaluation.result import Evaluation, Omission
    from scenesearch.home.allowed_originals import AllowedOriginals
    from scenesearch.home.installation import Installation
    from scenesearch.store.base import VectorStore

evaluate_app = typer.Typer(invoke_without_command=True, no_args_is_help=True)

MOST_NOTES = 10

_REQUIREMENT = re.compile(r"\s*([a-z@0-9_]+)\s*(>=|<=|>|<)\s*([0-9.]+)\s*(%?)\s*")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@evaluate_app.callback()
def evaluate(
    context: typer.Context,
    queries: Annotated[
        Path | None,
        typer.Option(help="test_queries.csv, or a table of query_text and images."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Search in a folder of pictures.")] = None,
    library: Annotated[
        str | None, typer.Option("--library", "-l", help="Search in a library, as it is now.")
    ] = None,
    where: WhereOption = None,
    encoder: EncoderOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write report.html, summary.json, run.trec, qrels.trec and "
            "per_query.parquet to."
        ),
    ] = None,
    expert: Annotated[
        Path | None,
        typer.Option(help="ExpertAnnotations.tsv: agreement with its grades (tau-c)."),
    ] = None,
    crowd: Annotated[
        Path | None,
        typer.Option(help="CrowdAnnotations.tsv: agreement with its votes (tau-b)."),
    ] = None,
    captions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Texts of the judged queries (captions.tsv, train_dataset.csv); may be repeated. "
            "Default: the files beside the judgments."
        ),
    ] = None,
    by_slice: Annotated[
        bool,
        typer.Option("--slices", help="Print figures by length of query and what it names."),
    ] = False,
    slice_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Print figures by a payload field of the relevant pictures; may be repeated.",
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC>=NUMBER",
            help='Exit with 1 unless this holds, e.g. "recall@10>=0.9" or "expert_tau_c>=0.45"; '
            "may be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure search quality: run every query over a folder or a library, score the answers."""
    if context.invoked_subcommand is not None:
        return
    from scenesearch.evaluation.diagnostics import diagnose
    from scenesearch.evaluation.output_folder import REPORT, save, to_document
    from scenesearch.search.filtering import conditions_in
    from scenesearch.search.grammar import parse_where

    judged = [file for file in (expert, crowd) if file is not None]
    if queries is None and not judged:
        fail("evaluate needs --queries FILE; `scenesearch evaluate template` makes one to fill")
    if queries is None and (by_slice or slice_by or where):
        fail("--slices, --slice-by and --where need --queries FILE")
    if (images is None) == (library is None):
        fail("evaluate needs the gallery: --images FOLDER or --library NAME, one of them")
    installation = open_installation()
    evaluation, diagnostics, agreement, notes = None, None, None, list[str]()
    opened = _gallery(installation, encoder, images, library, notes)
    with opened as (store, name, loaded, originals):
        if queries is not None:
            filters = parse_where(where or [], store.describe(name).fields)
            conditions, notices = conditions_in(store, name, filters, installation.presence)
            for notice in notices:
                say(notice)
            evaluation = run_evaluation(
                read_queries(queries, notes), loaded, store, name, where=conditions
            )
            notes += describe_omissions(evaluation.omissions, queries)
            diagnostics = diagnose(
                evaluation,
                store=store,
                load_encoder=lambda: installation.load_encoder(str(loaded.info.folder)),
                slice_by=slice_by or (),
            )
        if judged:
            agreement = measure(loaded, store, name, expert, crowd, captions or [], notes)
    figures = {
        **(evaluation.metrics if evaluation else {}),
        **(agreement.figures if agreement else {}),
    }
    missed = check_requirements(require or [], figures)
    document = to_document(evaluation, diagnostics, agreement, notes)
    say_some(notes)
    if out is not None:
        gallery = f"library {library}" if library else str(images)
        try:
            save(
                out,
                title=f"{loaded.info.name} on {gallery}",
                evaluation=evaluation,
                diagnostics=diagnostics,
                agreement=agreement,
                notes=notes,
                originals=originals,
            )
        except OSError as error:  # a full disk does not say which file
            place = error.filename or out
            fail(f"{place} cannot be written: {obstacle(error) or error.strerror}")
    if not as_json:
        if evaluation is not None:
            print_evaluation(evaluation, by_slice=by_slice)
        if diagnostics is not None:
            print_diagnostics(diagnostics)
        if agreement is not None:
            print_agreement(agreement)
    if out is not None:
        say(f"report: {out / REPORT}")
    if as_json:
        print_json(document)
    for sentence in missed:
        say(sentence)
    if missed:
        sys.exit(NOTHING)


@evaluate_app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder written by `evaluate --out`.")],
    run_b: Annotated[Path, typer.Argument(help="Another, with the same queries and gallery.")],
    metric: Annotated[str, typer.Option(help="Metric that decides.")] = "recall@10",
    as_json: JsonOption = False,
) -> None:
    """Say whether run B is better than run A: paired test, interval of the difference, wins."""
    from scenesearch.evaluation.compare import compare as compare_runs
    from scenesearch.evaluation.output_folder import read_saved

    found = compare_runs(read_saved(run_a), read_saved(run_b))
    metrics = [one.metric for one in found.differences]
    if metric not in metrics:
        fail(f"--metric {metric}: one of {', '.join(metrics)}")
    if as_json:
        print_json(found.to_json() | {"verdict": found.verdict(metric)})
        return
    names = [f"{run} (encoder {one.encoder})" for run, one in ((run_a, found.a), (run_b, found.b))]
    print_comparison(found, *names, metric=metric)


@evaluate_app.command()
def template(
    images: Annotated[Path, typer.Option(help="Folder of pictures to write queries for.")],
    out: Annotated[Path, typer.Option(help="The CSV to write; it must not exist.")] = Path(
        "queries.csv"
    ),
    count: Annotated[
        int, typer.Option("--limit", "-k", "-n", min=1, help="How many pictures.")
    ] = 50,
) -> None:
    """Write a table of pictures for a person to describe, for `evaluate --queries`.

    The pictures are chosen from the whole folder, the same ones each time.
    """
    from ingest.sources.find import find_sources
    from ingest.sources.roots import Roots

    if out.exists():
        fail(f"{out} exists: give another --out")
    records = [
        record for source in find_sources([images], roots=Roots()) for record in source.records()
    ]
    ids = sorted(
        {record.image_id for record in records},
        key=lambda image_id: hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest(),
    )
    if not ids:
        fail(f"{images} holds no picture")
    with out.open("x", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("query_id", "query_text", "images"))
        writer.writerows((number, "", image_id) for number, image_id in enumerate(ids[:count], 1))
    say(
        f"{out}: {min(count, len(ids))} of {len(ids)} pictures. Write what each shows under "
        "query_text, in the words of somebody who looks for it. Add other pictures that show it "
        "too, separated by commas. Empty rows are ignored."
    )


def measure(
    encoder: "Encoder",
    store: "VectorStore",
    library: str,
    expert: Path | None,
    crowd: Path | None,
    captions: list[Path],
    notes: list[str],
) -> "Agreement":
    """Agreement with the judgments in the files; unusable rows are added to `notes`."""
    from scenesearch.datasets.task import CAPTIONS, TRAIN_PAIRS, read_crowd, read_expert, texts_of
    from scenesearch.evaluation.agreement import measure_agreement

    folders = dict.fromkeys(file.parent for file in (expert, crowd) if file is not None)
    beside = [folder / name for folder in folders for name in (TRAIN_PAIRS, CAPTIONS)]
    texts = texts_of(*captions, *(file for file in beside if file.is_file()))
    # Judgments name files, ids are paths inside the library.
    names = {point.image_id.rpartition("/")[2] for point in store.scroll(library, payload=())}
    grades = read_expert(expert, images=names, texts=texts) if expert else None
    votes = read_crowd(crowd, images=names, texts=texts) if crowd else None
    problems = [problem for table in (grades, votes) if table for problem in table.problems]
    notes += [f"{problem.file}:{problem.line}: {problem.reason}" for problem in problems]
    found = measure_agreement(
        store=store,
        library=library,
        encoder=encoder,
        texts=texts,
        expert=grades.rows if grades else (),
        crowd=votes.rows if votes else (),
    )
    return replace(
        found, left_out=found.left_out + sum(not problem.is_note for problem in problems)
    )


def print_agreement(found: "Agreement") -> None:
    from scenesearch.evaluation.report import agreement_rows

    left_out = f" ({found.left_out} judgments left out)" if found.left_out else ""
    typer.echo(
        f"\nencoder {found.encoder} and human judgments, gallery of {found.gallery}{left_out}"
    )
    for label, value, interval, counted in agreement_rows(found):
        typer.echo(f"  {label:<40} {value:>6}   {interval:<15} {counted}")


def print_diagnostics(diagnostics: "Diagnostics") -> None:
    """Image to text, the index, the speed, the failures and the slices, a line each."""
    back, latency = diagnostics.image_to_text, diagnostics.latency
    recall = ", ".join(f"{100 * back.metrics[f'success@{k}']:.1f} %" for k in (1, 5, 10))
    typer.echo(f"\n  image to text, Success@1, 5, 10   {recall}   ({back.queries} pictures)")
    found = diagnostics.index
    index = ", ".join(f"{100 * value:.2f} % of {k}" for k, value in found.at.items())
    typer.echo(f"  index against exact search        {index}   ({found.queries} queries)")
    total, encode = latency.warm["total"], latency.warm["encode"]
    typer.echo(
        f"  a request, p50, p95, p99          {total['p50']:.1f}, {total['p95']:.1f}, "
        f"{total['p99']:.1f} ms, of it encoding {encode['p50']:.1f}; "
        f"cold {latency.cold['total']:.0f} ms"
    )
    failures = diagnostics.failures
    typer.echo(f"  misses with a look-alike first    {failures.alike} of {failures.misses}")
    for part in diagnostics.field_slices:
        low, high = (100 * end for end in part.ci95["recall@10"])
        typer.echo(
            f"  {printable(part.name):<33} {part.queries:>6} queries, Recall@10 "
            f"{100 * part.metrics['recall@10']:.1f} %, {low:.1f} % – {high:.1f} %"
        )


def print_comparison(found: "Comparison", a: str, b: str, *, metric: str = "recall@10") -> None:
    """A table of the figures of both, their differences with intervals, and the verdict."""
    typer.echo(f"A: {printable(a)}\nB: {printable(b)}\n")
    typer.echo(f"  {'':<12} {'A':>7} {'B':>7}  {'B - A':>7}  {'95 % interval':<19} p")
    for one in found.differences:
        low, high = one.ci95
        typer.echo(
            f"  {one.metric:<12} {one.a:>7.3f} {one.b:>7.3f}  {one.mean:>+7.3f}  "
            f"{f'{low:+.3f} to {high:+.3f}':<19} {one.p:.4f}"
        )
    typer.echo(
        f"\n  first relevant picture: B higher in {found.wins} queries, lower in {found.losses}, "
        f"level in {found.ties}\n\n{printable(found.verdict(metric))}"
    )


def check_requirements(required: list[str], metrics: Mapping[str, float]) -> list[str]:
    """A sentence for each requirement that is not met; exits if one cannot be read."""
    missed = []
    for text in required:
        found = _REQUIREMENT.fullmatch(text)
        if found is None or found[1] not in metrics:
            fail(f"--require {text!r}: expected METRIC>=NUMBER, one of {', '.join(metrics)}")
        name, sign = found[1], found[2]
        try:
            bound = float(found[3]) / (100 if found[4] else 1)
        except ValueError:
            fail(f"--require {text!r}: {found[3]} is no number")
        if not _OPERATORS[sign](metrics[name], bound):
            missed.append(f"{name} is {metrics[name]:.4f}, required {sign} {bound:g}")
    return missed


def read_queries(file: Path, notes: list[str]) -> "Sequence[Query]":
    """The queries in the file; unusable rows and unread columns are added to `notes`."""
    from scenesearch.datasets.queries import read_queries as read_file

    read = read_file(file)
    notes += [f"{problem.file}:{problem.line}: {problem.reason}" for problem in read.problems]
    if read.unused:
        notes.append(f"{file}: nothing is read from the columns {', '.join(read.unused)}")
    return read.queries


@contextmanager
def _gallery(
    installation: "Installation",
    encoder: str | None,
    images: Path | None,
    library: str | None,
    notes: list[str],
) -> Iterator[tuple["VectorStore", str, "Encoder", "AllowedOriginals"]]:
    """The store, the collection to search, its encoder and the originals that may be opened, of a
    library or of a folder that is indexed for the moment."""
    from ingest.sources.find import find_sources
    from ingest.sources.roots import Roots
    from scenesearch.home.allowed_originals import AllowedOriginals
    from scenesearch.pictures.records import check_library_name
    from scenesearch.store.edge import EdgeStore

    if images is None:
        name = check_library_name(library or "")
        with installation.store(reading=True) as store:
            loaded = installation.library_encoder(store, name, encoder, verify=True)
            yield store, name, loaded, installation.originals
        return
    loaded = installation.load_encoder(encoder, verify=True, for_ingest=True)
    with (
        tempfile.TemporaryDirectory(prefix="scenesearch-") as folder,
        closing(EdgeStore(Path(folder))) as store,
    ):
        roots = Roots()
        sources = find_sources([images], roots=roots)
        report = run_ingest(sources, "evaluation", loaded, store, installation, keeps_files=False)
        if report.interrupted:
            interrupted()
        if not report.collection:
            why = "".join(f" ({one.path}: {one.reason})" for one in report.rejects[:1])
            fail(f"{images} holds no picture that can be used{why}")
        notes += [
            f"not in the gallery: {reject.path}: {reject.reason}" for reject in report.rejects
        ]
        yield store, "evaluation", loaded, AllowedOriginals(roots.known)


def run_evaluation(
    queries: "Sequence[Query]",
    encoder: "Encoder",
    store: "VectorStore",
    library: str,
    *,
    where: Any = (),
) -> "Evaluation":
    """Run every query, with a progress bar on stderr."""
    from scenesearch.evaluation.evaluate import evaluate as evaluate_queries

    with progress_bar() as progress:
        task = progress.add_task("asking", total=len(queries))
        return evaluate_queries(
            queries,
            encoder=encoder,
            store=store,
            library=library,
            where=where,
            on_progress=lambda done: progress.update(task, completed=done),
        )


def describe_omissions(omissions: "Sequence[Omission]", file: Path) -> list[str]:
    """A sentence for each omission with its line; one for each reason where there are many."""
    by_reason: dict[str, list[Omission]] = {}
    for omission in omissions:
        by_reason.setdefault(omission.reason, []).append(omission)
    sentences = []
    for reason, cases in by_reason.items():
        described = [
            (f"{file}:{case.line}: " if case.line else "") + case.sentence()
            for case in cases[:MOST_NOTES]
        ]
        if len(cases) > MOST_NOTES:
            described = [
                f"{file}: {len(cases)} queries ({reason}), the first: {cases[0].sentence()}"
            ]
        sentences += described
    return sentences


def say_some(notes: "Sequence[str]") -> None:
    """The first notes on stderr; a filter can leave out hundreds of queries."""
    for note in notes[:MOST_NOTES]:
        say(note)
    if len(notes) > MOST_NOTES:
        say(f"and {len(notes) - MOST_NOTES} more; --json and the report list them")


def print_evaluation(evaluation: "Evaluation", *, by_slice: bool = False) -> None:
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
