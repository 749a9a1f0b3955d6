"""How well searches work: measured with queries, shown in reports, compared, side by side."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from scenesearch.datasets.queries import Query, read_queries
from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.compare import compare
from scenesearch.evaluation.diagnostics import diagnose
from scenesearch.evaluation.evaluate import evaluate
from scenesearch.evaluation.formatting import LABELS, format_metric
from scenesearch.evaluation.output_folder import REPORT, SUMMARY, read_saved, save
from scenesearch.evaluation.promotion import evaluations_folder
from scenesearch.home.uploads import UploadError, save_manifest
from scenesearch.runtime.files import make_private, private_folder
from scenesearch.store.base import VectorStore
from scenesearch.store.catalog import CatalogEntry, collections_of
from ui.components import choose_part, small
from ui.gallery.answers import Answer
from ui.jobs import Job
from ui.resources import (
    OpenLibrary,
    installation,
    job_store,
    leased_store,
    library_files,
    open_library,
    start_job,
)
from ui.settings import page_settings
from ui.views.errors import errors_shown
from ui.views.gallery import Made, draw, shown
from ui.views.progress import show_progress

_HITS_A_SIDE = 8
_REPORT_HEIGHT = 900
_MAX_NOTES = 20


def show() -> None:
    library = page_settings().library
    st.title("Evaluation", anchor=False)
    show_progress()
    with errors_shown(library, shows_progress=True):
        with leased_store() as store:
            collections = collections_of(store, library)
        parts = {
            "Measure": _measure,
            "Reports": _reports,
            "Compare": _compare,
            "Side by side": _side_by_side,
        }
        part = choose_part("Part of the evaluation", list(parts), key="evaluation-part")
        parts[part](collections)


def _folder() -> Path:
    """Where evaluations of the library's collections are saved, also those of the command line."""
    return evaluations_folder(library_files().folder)


def _evaluated(collections: Sequence[CatalogEntry]) -> list[str]:
    return [one.name for one in collections if (_folder() / one.name / SUMMARY).is_file()]


def _searchable(collections: Sequence[CatalogEntry]) -> list[str]:
    return [one.name for one in collections if one.role != "building"]


# --- measure ---------------------------------------------------------------------------------


def _measure(collections: Sequence[CatalogEntry]) -> None:
    st.text(
        "A file of queries says which pictures each query should find: a table with the columns "
        "query_text and images. Every query is run, and its results are compared with these."
    )
    settings = page_settings()
    drawn = settings.data_dir / "demo-pictures" / "test_queries.csv"
    names = _searchable(collections)
    with st.form("measure", border=True):
        uploaded = st.file_uploader(
            "File of queries (CSV or TSV)",
            type=["csv", "tsv"],
            max_upload_size=settings.page_upload_mb,
            key="queries",
        )
        sample = drawn.is_file() and st.checkbox(
            "Use the queries of the sample pictures", key="sample-queries"
        )
        chosen = st.multiselect(
            "Collections",
            names,
            default=[names[0]] if names else [],
            key="which",
        )
        if not st.form_submit_button("Measure", type="primary"):
            return
    try:
        if sample:
            file = drawn
        elif uploaded is not None:
            file = save_manifest(
                uploaded.name,
                uploaded.getvalue(),
                library_files().folder / "queries",
                max_bytes=settings.page_upload_mb * 10**6,
            )
        else:
            raise UploadError("choose a file of queries first")
        if not chosen:
            raise UploadError("choose a collection to measure")
        read = read_queries(file)
        notes = [f"{p.file.name}:{p.line}: {p.reason}" for p in read.problems]
        if not read.queries:
            raise UploadError("; ".join([f"{file.name} contains no query", *notes[:1]]))
        _start(read.queries, chosen, notes)
    except SceneSearchError as error:
        small(str(error), key="not-measured")
    else:
        st.rerun()


def _start(queries: Sequence[Query], collections: Sequence[str], notes: Sequence[str]) -> None:
    total = len(queries) * len(collections)

    def work(job: Job) -> None:
        with job_store(job) as store:
            for number, name in enumerate(collections):
                _measure_one(job, store, name, queries, number * len(queries), total, notes)

    start_job(f"Measuring {len(queries):,} queries", work)


def _measure_one(
    job: Job,
    store: VectorStore,
    name: str,
    queries: Sequence[Query],
    before: int,
    total: int,
    notes: Sequence[str],
) -> None:
    """Search the collection for every query and save the scores, for `library promote` to read."""
    here = installation()
    found = evaluate(
        queries,
        store=store,
        library=name,
        encoder=here.library_encoder(store, name),
        on_progress=lambda done: job.tick(before + done, total, f"asking {name}"),
    )
    job.tick(before + len(queries), total, f"looking closer at {name}")
    diagnostics = diagnose(
        found, store=store, load_encoder=lambda: here.library_encoder(store, name)
    )
    notes = [*notes, *(omission.sentence() for omission in found.omissions)]
    folder = private_folder(_folder() / name)
    save(
        folder,
        title=f"{store.describe(name).encoder} on {name}",
        evaluation=found,
        diagnostics=diagnostics,
        notes=notes,
        originals=here.originals,
    )
    make_private(folder)


# --- reports ---------------------------------------------------------------------------------


def _reports(collections: Sequence[CatalogEntry]) -> None:
    names = _evaluated(collections)
    if not names:
        st.text("Nothing has been measured yet.")
        return
    name = st.selectbox("Report of", names, key="report")
    folder = _folder() / name
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        rows = _figures(summary)
    except (OSError, ValueError, KeyError, TypeError):
        st.text("This evaluation is damaged: measure again.")
        return
    small(
        f"{summary['queries']:,} queries, gallery of {summary['gallery']:,} pictures, encoder "
        f"{summary['encoder']}",
        key="report-of",
    )
    st.dataframe(rows, hide_index=True, alt="Figures with their intervals")
    notes = [str(note) for note in summary.get("notes", [])]
    if notes:
        with st.expander(f"{len(notes):,} notes on what was left out"):
            small("\n".join(notes[:_MAX_NOTES]), key="notes")
    report = folder / REPORT
    if report.is_file():
        page = report.read_bytes()
        st.download_button(
            "The report as a file",
            page,
            file_name=f"{name}.html",
            mime="text/html",
            on_click="ignore",
            icon=":material/download:",
        )
        # It is self-contained: all text from files is escaped in it, and it fetches nothing.
        st.iframe(page.decode("utf-8", "replace"), height=_REPORT_HEIGHT, alt=f"Report of {name}")


def _figures(summary: dict[str, Any]) -> pd.DataFrame:
    depth = int(summary.get("depth") or summary["gallery"])

    def format_value(name: str, value: float | None) -> str:
        return format_metric(name, float("inf") if value is None else value, depth)

    return pd.DataFrame(
        [
            {
                "figure": LABELS.get(name, name),
                "value": format_value(name, value),
                "95 % interval": " – ".join(
                    format_value(name, end) for end in summary["ci95"][name]
                ),
            }
            for name, value in summary["metrics"].items()
        ]
    )


# --- compare ---------------------------------------------------------------------------------


def _compare(collections: Sequence[CatalogEntry]) -> None:
    names = _evaluated(collections)
    if len(names) < 2:
        st.text(
            "Two collections have to be measured with the same queries: build one with another "
            "encoder under Manage → Encoders, then measure both."
        )
        return
    left, right = st.columns(2)
    a = left.selectbox("A", names, index=0, key="compare-a")
    b = right.selectbox("B", names, index=1, key="compare-b")
    found = compare(read_saved(_folder() / a), read_saved(_folder() / b))
    st.text(found.verdict())
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "figure": LABELS.get(one.metric, one.metric),
                    "A": f"{one.a:.3f}",
                    "B": f"{one.b:.3f}",
                    "B - A": f"{one.mean:+.3f}",
                    "95 % interval": f"{one.ci95[0]:+.3f} to {one.ci95[1]:+.3f}",
                    "p": f"{one.p:.4f}",
                }
                for one in found.differences
            ]
        ),
        hide_index=True,
        alt="Figures of both and their difference",
    )
    small(
        f"First relevant picture: B ranks it higher in {found.wins} queries, lower in "
        f"{found.losses}, equal in {found.ties}.",
        key="wins",
    )


# --- side by side ----------------------------------------------------------------------------


def _side_by_side(collections: Sequence[CatalogEntry]) -> None:
    names = _searchable(collections)
    if len(names) < 2:
        st.text(
            "There is only one collection: build one with another encoder under Manage → Encoders."
        )
        return
    with st.form("side-by-side", border=False):
        text = st.text_input("Request", key="side-q", placeholder="a dog running through snow")
        left, right = st.columns(2)
        a = left.selectbox("Left", names, index=0, key="side-a")
        b = right.selectbox("Right", names, index=1, key="side-b")
        st.form_submit_button("Ask both", type="primary")
    if not (text or "").strip():
        return
    columns = st.columns(2, gap="medium")
    for side, (column, name) in enumerate(zip(columns, (a, b), strict=True)):
        errors = errors_shown(name, shows_progress=True, part=f"side-{side}")
        with column, errors, open_library(name) as opened:
            _show_side(opened, name, text, side)


def _show_side(opened: OpenLibrary, name: str, text: str, side: int) -> None:
    result = opened.searcher.search(text, k=_HITS_A_SIDE, collapse=True)
    small(f"{name} · encoder {result.encoder} · {result.total_ms:.0f} ms", key=f"side-{side}")
    answer = Answer.of_hits(result.hits)
    now = shown(opened, ("side", name, text), lambda: Made(answer))
    draw(opened, now, key=f"gallery-side-{side}", selectable=False)
