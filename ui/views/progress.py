"""What goes on in the background, brought up to date by itself, with pause and cancel."""

from typing import Any

import streamlit as st

from ui import resources
from ui.components import duration, small
from ui.jobs import Job

# How often the counts on the screen change.
_EVERY_S = 1.0


def show_progress() -> None:
    """The work that goes on or was last done, if any; the whole page is drawn anew at its end."""
    job = resources.jobs().current
    if job is None:
        return
    if job.is_over:
        _show_end(job)
    else:
        _follow(job.title)


@st.fragment(run_every=_EVERY_S)
def _follow(title: str) -> None:
    job = resources.jobs().current
    if job is None or job.is_over or job.title != title:
        st.rerun()
        return
    with st.container(border=True, key="job"):
        st.text(job.title)
        share = min(1.0, job.done / job.total) if job.total else 0.0
        st.progress(share)
        small(_said(job), key="job")
        if resources.settings().page_read_only:
            return
        with st.container(horizontal=True):
            if job.state == "paused":
                st.button("Go on", icon=":material/play_arrow:", on_click=job.resume, key="resume")
            else:
                st.button(
                    "Pause",
                    icon=":material/pause:",
                    on_click=job.pause,
                    disabled=job.state == "stopping",
                    key="pause",
                )
            st.button(
                "Cancel",
                icon=":material/close:",
                on_click=job.cancel,
                disabled=job.state == "stopping",
                key="cancel",
            )


def _said(job: Job) -> str:
    if job.state == "stopping":
        return "stopping; what is done is kept"
    parts = [f"{job.done:,} of {job.total:,}"] if job.total else []
    if job.state == "paused":
        parts.append("paused")
    elif job.total and job.rate:
        parts.append(f"{job.rate:.1f} a second")
        if job.left_s is not None:
            parts.append(f"about {duration(job.left_s)} left")
    if job.detail:
        parts.append(job.detail)
    return " · ".join(parts) or "beginning"


def _show_end(job: Job) -> None:
    icon, said = {
        "done": (":material/check_circle:", "done"),
        "cancelled": (":material/cancel:", "cancelled; what was done is kept"),
        "failed": (":material/error:", "failed"),
    }[job.state]
    with st.container(border=True, key="job-over"):
        st.markdown(f"{icon} **{said.capitalize()}**")
        st.text(job.title)
        if job.error:
            st.text(job.error)
        told = told_of(job.result)
        if told:
            small(told, key="job-over")
        if st.button("OK", key="dismiss"):
            resources.jobs().dismiss()
            st.rerun()


def told_of(report: Any) -> str:
    """The counts of a report of ingest or build."""
    told = []
    for name, word in (
        ("written", "added"),
        ("skipped", "unchanged"),
        ("rejected", "left out"),
        ("encoded", "encoded"),
        ("copied", "copied"),
        ("removed", "removed"),
        ("moved", "moved"),
    ):
        count = getattr(report, name, 0)
        if count:
            told.append(f"{count:,} {word}")
    unusable = getattr(report, "unusable", None)
    if unusable:
        told.append(f"{len(unusable):,} unusable")
    return " · ".join(told)
