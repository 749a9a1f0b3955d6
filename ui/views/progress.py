"""The background job on the screen: how far it is, with buttons to pause and cancel it."""

from typing import Any

import streamlit as st

from ui.components import small
from ui.jobs import Job
from ui.resources import jobs
from ui.settings import page_settings

# How often the counts on the screen change.
_REFRESH_S = 1.0


def show_progress() -> None:
    """The current or last job, if any; when it ends, the whole page is drawn again."""
    job = jobs().current
    if job is None:
        return
    if job.is_over:
        _show_end(job)
    else:
        _follow(job.title)


@st.fragment(run_every=_REFRESH_S)
def _follow(title: str) -> None:
    job = jobs().current
    if job is None or job.is_over or job.title != title:
        st.rerun()
        return
    with st.container(border=True, key="job"):
        st.text(job.title)
        st.progress(min(1.0, job.done / job.total) if job.total else 0.0)
        small(_status(job), key="job")
        if page_settings().page_read_only:
            return
        paused, stopping = job.state == "paused", job.state == "stopping"
        with st.container(horizontal=True):
            st.button(
                "Resume" if paused else "Pause",
                icon=":material/play_arrow:" if paused else ":material/pause:",
                on_click=job.resume if paused else job.pause,
                disabled=stopping,
                key="resume" if paused else "pause",
            )
            st.button(
                "Cancel",
                icon=":material/close:",
                on_click=job.cancel,
                disabled=stopping,
                key="cancel",
            )


def _status(job: Job) -> str:
    if job.state == "stopping":
        return "stopping; what is done is kept"
    parts = [f"{job.done:,} of {job.total:,}"] if job.total else []
    if job.state == "paused":
        parts.append("paused")
    elif job.total and job.rate:
        parts.append(f"{job.rate:.1f} per second")
        if job.left_s is not None:
            parts.append(f"about {_duration(job.left_s)} left")
    if job.detail:
        parts.append(job.detail)
    return " · ".join(parts) or "starting"


def _duration(seconds: float) -> str:
    """Time in words a person would use: '12 s', '3 min', '2 h 10 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _show_end(job: Job) -> None:
    icon, outcome = {
        "done": (":material/check_circle:", "Done"),
        "cancelled": (":material/cancel:", "Cancelled; what was done is kept"),
        "failed": (":material/error:", "Failed"),
    }[job.state]
    with st.container(border=True, key="job-over"):
        st.markdown(f"{icon} **{outcome}**")
        st.text(job.title)
        if job.error:
            st.text(job.error)
        if counts := _counts(job.result):
            small(counts, key="job-over")
        if st.button("OK", key="dismiss"):
            jobs().dismiss()
            st.rerun()


def _counts(report: Any) -> str:
    """The counts of a report of an ingest or a build; other jobs have none."""
    counts = []
    for name, word in (
        ("written", "added"),
        ("skipped", "unchanged"),
        ("rejected", "left out"),
        ("encoded", "encoded"),
        ("copied", "copied"),
        ("removed", "removed"),
        ("moved", "moved"),
    ):
        if count := getattr(report, name, 0):
            counts.append(f"{count:,} {word}")
    if unusable := getattr(report, "unusable", None):
        counts.append(f"{len(unusable):,} unusable")
    return " · ".join(counts)
