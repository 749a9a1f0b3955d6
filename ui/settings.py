"""The settings that the page runs with, the library that a visitor has chosen, and whether the page
listens to this machine alone."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

import streamlit as st
from streamlit import config
from streamlit.runtime.scriptrunner import get_script_run_ctx

from scenesearch.home.settings import Settings

_given: Settings | None = None
_local = True


def use_settings(settings: Settings, *, local: bool) -> None:
    """Run the page with these settings; called once, before the server starts."""
    global _given, _local
    _given, _local = settings, local


def page_settings() -> Settings:
    """What the page was started with, else what the environment says, which is read once; the
    library is the one that this visitor has chosen.

    The page encodes on the CPU even if the same settings give ingest a GPU: a container of the page
    has none, nor the ONNX Runtime for it.
    """
    return _settings(_library.get() or _chosen_here())


@st.cache_resource(show_spinner=False, max_entries=1000)
def _settings(library: str | None) -> Settings:
    changed = {"device": "cpu"} | ({"library": library} if library else {})
    return (_given or Settings()).model_copy(update=changed)


def read_settings_again() -> None:
    """Forget what the environment said."""
    _settings.clear()


# --- the visitor's library -----------------------------------------------------------------------

P = ParamSpec("P")
T = TypeVar("T")

# Of work outside a visitor's session: a job, a download, an address of the gallery.
_library: ContextVar[str | None] = ContextVar("library", default=None)

# So many sessions' choices are remembered; one that is forgotten is still in the address.
_MOST_SESSIONS = 10_000


@st.cache_resource(show_spinner=False)
def _choices() -> OrderedDict[str, str]:
    """The library that a session has chosen, by its id. Not in `st.session_state`: Streamlit ends
    a superseded run wherever that is read, also in the middle of a write."""
    return OrderedDict()


def _chosen_here() -> str | None:
    context = get_script_run_ctx(suppress_warning=True)
    return None if context is None else _choices().get(context.session_id)


def may_choose_library() -> bool:
    """Whether visitors may look at other libraries than the one that the settings name. A page for
    reading shows that one alone."""
    settings = _settings(None)
    return not settings.page_read_only and settings.api_url is None


def usual_library() -> str:
    """The library that the settings name."""
    return _settings(None).library


def choose_library(name: str) -> None:
    """Use this library in the visitor's session from now on."""
    context = get_script_run_ctx(suppress_warning=True)
    if context is not None and may_choose_library():
        choices = _choices()
        choices[context.session_id] = name
        choices.move_to_end(context.session_id)
        while len(choices) > _MOST_SESSIONS:
            choices.popitem(last=False)


@contextmanager
def using_library(name: str) -> Iterator[None]:
    """Use this library inside, outside of a visitor's session."""
    token = _library.set(name)
    try:
        yield
    finally:
        _library.reset(token)


def in_this_library(work: Callable[P, T]) -> Callable[P, T]:
    """The same work with the library of now, wherever and whenever it is done."""
    library = page_settings().library

    def do(*given: P.args, **named: P.kwargs) -> T:
        with using_library(library):
            return work(*given, **named)

    return do


# --- the server ----------------------------------------------------------------------------------


def asks_server() -> bool:
    """Whether pictures and answers come from an API server, and nothing is opened here."""
    return page_settings().api_url is not None


def is_local() -> bool:
    """Whether the page listens to this machine alone."""
    return _local


def base_path() -> str:
    """The path that the page is served under, '' for the root, else '/photos'."""
    base = str(config.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}" if base else ""


def our_base() -> str:
    """What our own addresses (`ui.server`) begin with, for this visitor's library; it ends with a
    slash."""
    library = page_settings().library
    return f"{base_path()}/" if library == usual_library() else f"{base_path()}/of/{library}/"
