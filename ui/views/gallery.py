"""The gallery: pictures in rows, endless, each to be opened; a component in the browser.

It fetches further portions and everything about a picture by itself (`ui.gallery.routes`). What a
visitor does to a picture comes back here as a trigger, what is selected as a state.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import streamlit as st

from scenesearch.errors import SceneSearchError
from scenesearch.home.saved_collections import change_collection, read_collections
from scenesearch.search.answer import SearchResult
from scenesearch.search.request import Like, QueryError, Request, Upload
from ui.access import shows_places
from ui.api_library import ApiSearcher
from ui.feedback import Mark, set_mark, takes_marks
from ui.gallery.answers import PORTION, Answer, answers
from ui.gallery.items import FIRST_SCREEN, Item, items
from ui.gallery.listing import Listing
from ui.resources import OpenLibrary, library_files, open_library
from ui.scripts import component
from ui.selection import cleared_just_now, select, selection_bar
from ui.settings import asks_server, our_base, page_settings
from ui.views.errors import error_message

# A session's last answers keep their tokens: Back leads to one as it was. Not many to pictures of
# visitors, of 20 MB each.
_REMEMBERED = 8
_REMEMBERED_BYTES = 32 * 2**20
_MAX_ID = 4096

_MARKS: Mapping[str, Mark] = {"right": "right", "wrong": "wrong", "unmark": "none"}


@dataclass(frozen=True)
class Shown:
    """An answer of this session: its token and first portion. `result` is what a search said of
    it, without its hits."""

    token: str
    answer: Answer
    first: Sequence[Item]
    next: str | None
    result: SearchResult | None = None


@dataclass(frozen=True)
class Made:
    """An answer that was just made; `payloads` of its first portion, where they are known."""

    answer: Answer
    payloads: Mapping[str, Mapping[str, Any]] | None = None
    result: SearchResult | None = None


def shown(opened: OpenLibrary, question: Hashable, make: Callable[[], Made]) -> Shown:
    """The answer to the question: the one that this session has, as long as the library is the
    same, else a new one. Where the library changed and its first pictures did not, it goes on."""
    kept: dict[Hashable, tuple[str, Shown]] = st.session_state.setdefault("answers", {})
    version = opened.version
    before = kept.pop(question, None)
    if before is not None and answers().get(before[1].token) is None:
        before = None
    if before is not None and before[0] == version:
        now = before[1]
    else:
        made = make()
        portion = made.answer.portion(opened, None, PORTION)
        first = items(
            opened,
            made.answer,
            portion.ids,
            made.payloads,
            start=portion.start,
            coloured=FIRST_SCREEN,
        )
        result = None if made.result is None else replace(made.result, hits=(), partial=())
        if before is not None and _ids(before[1].first) == _ids(first):
            now = replace(before[1], first=first, result=result)
        else:
            now = Shown(answers().keep(made.answer), made.answer, first, portion.next, result)
    kept[question] = version, now
    while len(kept) > 1 and (len(kept) > _REMEMBERED or _size(kept) > _REMEMBERED_BYTES):
        del kept[next(iter(kept))]
    return now


def _size(kept: Mapping[Hashable, tuple[str, Shown]]) -> int:
    return sum(one.answer.size_bytes for _, one in kept.values())


def _ids(first: Sequence[Item]) -> list[str | int]:
    return [one["id"] for one in first]


def show_gallery(
    opened: OpenLibrary,
    ids: Sequence[str],
    *,
    key: str = "gallery",
    request: Request | None = None,
    selectable: bool = True,
    ordered_by: str = "",
    captions: bool = False,
    announce: str = "",
) -> None:
    """Draw the pictures of these ids, in this order, and the bar of what is selected.

    `request` is what they were found by; 'taken' as `ordered_by` puts a rail of dates beside them.
    """
    now = shown(opened, (key, tuple(ids), request), lambda: Made(Answer(ids, request=request)))
    draw(
        opened,
        now,
        key=key,
        selectable=selectable,
        ordered_by=ordered_by,
        captions=captions,
        announce=announce,
    )


def draw(
    opened: OpenLibrary,
    now: Shown,
    *,
    key: str = "gallery",
    selectable: bool = True,
    ordered_by: str = "",
    captions: bool = False,
    announce: str = "",
) -> None:
    """Mount the component with an answer, and the bar of what is selected."""
    st.session_state[f"answer-{key}"] = now.token
    component("gallery")(
        key=key,
        data={
            "base": our_base(),
            "answer": now.token,
            "library": opened.library,
            "items": list(now.first),
            "next": now.next,
            "total": now.answer.total,
            "nearest": now.answer.nearest,
            "shaped": isinstance(now.answer, Listing),
            "ordered_by": ordered_by,
            "captions": captions,
            "selectable": selectable,
            "selected": [] if cleared_just_now() else None,
            "can": _can(opened, now.answer.request),
            "announce": announce,
            "said": st.session_state.get(f"said-{key}"),
        },
        on_selected_change=partial(_selected, key),
        on_act_change=partial(_acted, key),
        on_lost_change=_lost,
    )
    if selectable:
        selection_bar()


def _can(opened: OpenLibrary, request: Request | None) -> dict[str, Any]:
    """What the gallery offers to do with a picture that is open."""
    parts = request.parts if request is not None else ()
    uploads = any(isinstance(part, Upload) for part in parts)
    there = isinstance(opened.searcher, ApiSearcher)
    changes = not (opened.settings.page_read_only or asks_server())
    collections = read_collections(library_files().saved_requests) if changes else []
    return {
        "like": True,
        "not": bool(parts),
        "mark": request is not None and bool(request.text) and takes_marks(),
        "why": any(not part.excluded for part in parts) and not (there and uploads),
        "collect": [one.name for one in collections] if changes else None,
        "download": "original" if shows_places(opened.settings) else "copy",
    }


# --- what a visitor does ---------------------------------------------------------------------


def _selected(key: str) -> None:
    select(_said(key, "selected"))


def _lost() -> None:
    """The browser was refused: the next answers are new ones."""
    st.session_state.pop("answers", None)


def _said(key: str, name: str) -> Any:
    state = st.session_state.get(key)
    return state.get(name) if isinstance(state, Mapping) else None


def _acted(key: str) -> None:
    """Do what was asked for in the browser; what it sends is checked like that of any stranger."""
    said = _said(key, "act")
    if not isinstance(said, Mapping):
        return
    image_id, what, to = said.get("id"), said.get("act"), said.get("to")
    if not isinstance(image_id, str) or not 0 < len(image_id) <= _MAX_ID:
        return
    answer = answers().get(st.session_state.get(f"answer-{key}", ""))
    request = answer.request if answer is not None else None
    try:
        text = act(str(what), image_id, request, to if isinstance(to, str) else "")
    except SceneSearchError as error:
        text = error_message(error)
    if text:
        # The gallery says it: the page itself lies behind the open picture.
        st.session_state[f"said-{key}"] = {"text": text, "number": time.time_ns() // 1_000_000}


def act(what: str, image_id: str, request: Request | None, to: str) -> str:
    """Do to the picture what was asked for, as far as this page allows it; `request` is what it
    was found by, `to` the collection it goes to. Returns what is said of it. Raises
    SceneSearchError."""
    if what == "like":
        _ask_next(str(Like(image_id)))
    elif what == "not" and request is not None:
        # A picture from outside has no written form; it stays beside the box.
        parts = [part for part in request.parts if not isinstance(part, Upload)]
        _ask_next(str(replace(request, parts=(*parts, Like(image_id, excluded=True)))))
    elif what in _MARKS and request is not None and request.text and takes_marks():
        _check_known(image_id)
        set_mark(request.text, image_id, _MARKS[what])
    elif what == "collect" and not (page_settings().page_read_only or asks_server()):
        _check_known(image_id)
        change_collection(library_files().saved_requests, to, lambda it: it.adding([image_id]))
        return f"Added to {to}"
    return ""


def _ask_next(text: str) -> None:
    """The page searches for it next, see `ui.app`."""
    st.session_state["next_request"] = text


def _check_known(image_id: str) -> None:
    with open_library() as opened:
        if image_id not in opened.store.retrieve(opened.library, [image_id]):
            raise QueryError("there is no such picture")
