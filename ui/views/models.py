"""The encoders on this machine: what each is, how it scores, and which one is live."""

import re
from typing import Any

import pandas as pd
import streamlit as st

from scenesearch.encoder.registry import EncoderEntry, list_encoders
from scenesearch.errors import SceneSearchError
from ui.components import small, table
from ui.resources import leased_store
from ui.settings import page_settings

# The part of a model card that is for the hub, not for people.
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)


def show() -> None:
    settings = page_settings()
    st.title("Models", anchor=False)
    small(
        "An encoder turns pictures and words into vectors that are close together when they match. "
        "A library is searched with the encoder it was built with.",
        key="models",
    )
    live = _live_fingerprint()
    encoders = list_encoders(settings.models_dir)
    rows = [_row(one, live, settings.encoder) for one in encoders]
    table(pd.DataFrame(rows), alt="Encoders on this machine", key="encoders")
    names = [one.name for one in encoders]
    chosen = st.selectbox("Model card of", names, key="model")
    _card(next(one for one in encoders if one.name == chosen))


def _live_fingerprint() -> str:
    try:
        with leased_store() as store:
            return store.describe(page_settings().library).fingerprint
    except SceneSearchError:
        return ""


def _row(one: EncoderEntry, live: str, default: str) -> dict[str, Any]:
    roles = []
    if one.info is not None and one.info.fingerprint == live:
        roles.append("live")
    if one.name == default:
        roles.append("for new libraries")
    row: dict[str, Any] = {"encoder": one.name, "place": one.place, "used": ", ".join(roles)}
    if one.info is None:
        return row | {"problem": one.broken}
    return row | {
        "dimensions": one.info.dimension,
        "MB": one.megabytes,
        "Recall@1 / 5 / 10": one.recalls,
        "relevance": str(one.info.calibration.get("fitted_on", "measured when opened")),
    }


def _card(one: EncoderEntry) -> None:
    if one.info is None:
        st.text(f"This encoder cannot be used: {one.broken}")
        return
    height, width = one.info.image.size
    facts = {
        "Fingerprint": one.info.fingerprint[:16],
        "Pictures": f"{width} × {height}, {one.info.image.resize}",
        "Texts": f"up to {one.info.text.context_length} tokens",
        "Files": ", ".join(one.info.parts),
    }
    small("\n".join(f"{key}: {value}" for key, value in facts.items()), key="card-facts")
    if one.card is None:
        small("It came without a model card.", key="no-card")
        return
    text = one.card.read_text(encoding="utf-8", errors="replace")
    if one.place == "bundled":
        with st.container(border=True):
            st.markdown(_FRONT_MATTER.sub("", text))
    else:  # written by strangers
        st.code(text, language=None, wrap_lines=True)
