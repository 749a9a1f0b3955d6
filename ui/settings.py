"""The settings that the page runs with, and whether it listens to this machine alone."""

import streamlit as st

from scenesearch.home.settings import Settings

_given: Settings | None = None
_local = True


def use_settings(settings: Settings, *, local: bool) -> None:
    """Run the page with these settings; called once, before the server starts."""
    global _given, _local
    _given, _local = settings, local


@st.cache_resource(show_spinner=False)
def page_settings() -> Settings:
    """What the page was started with, else what the environment says, which is read once.

    The page encodes on the CPU even if the same settings give ingest a GPU: a container of the page
    has none, nor the ONNX Runtime for it.
    """
    return (_given or Settings()).model_copy(update={"device": "cpu"})


def is_local() -> bool:
    """Whether the page listens to this machine alone."""
    return _local
