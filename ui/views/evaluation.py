"""How well the library answers: measured by queries, told in reports, compared, looked at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from scenesearch.datasets.queries import Query, read_queries
from scenesearch.encoder.base import Encoder
from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.compare import compare
from scenesearch.evaluation.diagnostics import diagnose
from scenesearch.evaluation.evaluate import evaluate
from scenesearch.evaluation.formatting import LABELS, format_metric
from scenesearch.evaluation.output_folder import REPORT, SUMMARY, read_saved, save
from scenesearch.evaluation.promotion import evaluations_folder
from scenesearch.runtime.files import make_private, private_folder
from scenesearch.store.base import VectorStore
from scenesearch.store.catalog import Held, collections_of
from ui import pictures, resources
from ui.components import Card, grid, small, title_of
from ui.jobs import Job
from ui.resources import Opened
from ui.uploads import UploadError, keep_manifest
from ui.views.failures import told_in_words
from ui.views.original import show_original
from ui.views.progress import show_progress

_SIDE_BY_SIDE = 8
_REPORT_HEIGHT = 900
_MOST_NOTES = 20


def show() -> None:
    settings = resources.settings()
    st.title("Evaluation", anchor=False)
    show_progress()
    with told_in_words(settings.library, shows_progress=True):
        with resources.opened_library(settings.library) as store:
            held = collections_of(store, settings.library)
        parts = {
            "Measure": _measure,
            "Reports": _reports,
            "Compare": _compare,
            "Side by side": _side_by_side,
        }
        if settings.page_read_only:
            del parts["Measure"]
        part = st.segmented_control(
            "Part of the evaluation",
            list(parts),
            default=next(iter(parts)),
            required=True,
            key="evaluation-part",
            label_visibility="collapsed",
            persist_state="session",
        )
        parts[part or next(iter(parts))](held)


def _folder() -> Path:
    """Where evaluations of the library's collections are kept, also those of the command line."""
    settings = resources.settings()
    return evaluations_folder(settings.library_dir(settings.library))


def _evaluated(held: Sequence[Held]) -> list[str]:
    return [one.name for one in held if (_folder() / one.name / SUMMARY).is_file()]


# --- measure ---------------------------------------------------------------------------------


def _measure(held: Sequence[Held]) -> None:
    st.text(
        "A file of queries says which pictures should be found: a table with the columns "
        "query_text and images. Every query is asked, and what comes back is compared."
    )
    settings = resources.settings()
    drawn = settings.data_dir / "demo-pictures" / "test_queries.csv"
    names = [one.name for one in held if one.role != "building"]
    with st.form("measure", border=True):
        brought = st.file_uploader(
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
        elif brought is not None:
            file = keep_manifest(
                brought.name,
                brought.getvalue(),
                settings.library_dir(settings.library) / "queries",
                most_bytes=settings.page_upload_mb * 10**6,
            )
        else:
            raise UploadError("choose a file of queries first")
        if not chosen:
            raise UploadError("choose a collection to measure")
        read = read_queries(file)
        notes = [f"{p.file.name}:{p.line}: {p.reason}" for p in read.problems]
        if not read.queries:
            raise UploadError(f"{file.name} holds no query" + "".join(f"; {n}" for n in notes[:1]))
        _start(read.queries, chosen, notes)
    except SceneSearchError as error:
        small(str(error), key="not-measured")
    else:
        st.rerun()


def _start(queries: Sequence[Query], collections: Sequence[str], notes: Sequence[str]) -> None:
    total = len(queries) * len(collections)

    def work(job: Job, store: VectorStore) -> None:
        for number, name in enumerate(collections):
            _measure_one(job, store, name, queries, number * len(queries), total, notes)

    resources.start(f"Measuring {len(queries):,} queries", work)


def _measure_one(
    job: Job,
    store: VectorStore,
    name: str,
    queries: Sequence[Query],
    before: int,
    total: int,
    notes: Sequence[str],
) -> None:
    """Ask the collection every query and keep what came of it, as `library promote` reads it."""
    spec, settings = store.describe(name), resources.settings()

    def load() -> Encoder:
        return resources.load_encoder(settings, spec.fingerprint, spec.encoder)

    found = evaluate(
        queries,
        store=store,
        library=name,
        encoder=load(),
        on_progress=lambda done: job.tick(before + done, total, f"asking {name}"),
    )
    job.tick(before + len(queries), total, f"looking closer at {name}")
    diagnostics = diagnose(found, store=store, load_encoder=load)
    said = [*notes, *(one.sentence() for one in found.omissions)]
    folder = private_folder(_folder() / name)
    save(
        folder,
        title=f"{spec.encoder} on {name}",
        evaluation=found,
        diagnostics=diagnostics,
        notes=said,
        originals=resources.originals(),
    )
    make_private(folder)


# --- reports ---------------------------------------------------------------------------------


def _reports(held: Sequence[Held]) -> None:
    names = _evaluated(held)
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
            small("\n".join(notes[:_MOST_NOTES]), key="notes")
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
        # It is complete in itself: every word of a file is escaped in it, and nothing is fetched.
        st.iframe(page.decode("utf-8", "replace"), height=_REPORT_HEIGHT, alt=f"Report of {name}")


def _figures(summary: dict[str, Any]) -> pd.DataFrame:
    depth = int(summary.get("depth") or summary["gallery"])

    def words(name: str, value: float | None) -> str:
        return format_metric(name, float("inf") if value is None else value, depth)

    return pd.DataFrame(
        [
            {
                "figure": LABELS.get(name, name),
                "value": words(name, value),
                "95 % interval": " – ".join(words(name, end) for end in summary["ci95"][name]),
            }
            for name, value in summary["metrics"].items()
        ]
    )


# --- compare ---------------------------------------------------------------------------------


def _compare(held: Sequence[Held]) -> None:
    names = _evaluated(held)
    if len(names) < 2:
        st.text(
            "Two collections have to be measured by the same queries: build another encoder's in "
            "the view Library, then measure both."
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
        f"First relevant picture: B higher in {found.wins} queries, lower in {found.losses}, level "
        f"in {found.ties}.",
        key="wins",
    )


# --- side by side ----------------------------------------------------------------------------


def _side_by_side(held: Sequence[Held]) -> None:
    names = [one.name for one in held if one.role != "building"]
    if len(names) < 2:
        st.text("There is one collection only: build another encoder's in the view Library.")
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
    for number, (column, name) in enumerate(zip(columns, (a, b), strict=True)):
        part = told_in_words(name, shows_progress=True, part=f"side-{number}")
        with column, part, resources.searching(name) as opened:
            _answer(opened, name, text, number)


def _answer(opened: Opened, name: str, text: str, side: int) -> None:
    result = opened.searcher.search(text, k=_SIDE_BY_SIDE, collapse=True)
    small(f"{name} · encoder {result.encoder} · {result.total_ms:.0f} ms", key=f"side-{side}")
    first = 1 + side * _SIDE_BY_SIDE
    hits = dict(enumerate(result.hits, start=first))
    cards = [
        Card(
            number,
            hit.image_id,
            pictures.thumbnail(
                opened.thumbnails_dir,
                str(hit.payload.get("sha256", "")),
                pictures.original_of(hit.payload),
                opened.settings.max_megapixels,
            ),
            title_of(dict(hit.payload), hit.image_id),
            f"{hit.relevance:.0%} relevant" if hit.relevance is not None else "",
        )
        for number, hit in hits.items()
    ]

    def open_card(card: Card) -> None:
        hit = hits[card.number]
        show_original(opened, hit.image_id, hit.payload, fallback=card.thumbnail)

    grid(cards, open_card, key=f"grid-side-{side}")
