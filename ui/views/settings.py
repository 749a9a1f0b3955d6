"""The settings that the page runs with, and where each comes from; secrets are masked."""

import pandas as pd
import streamlit as st

from scenesearch.home.settings import Settings, config_file, shown_value, sources, variable
from ui.components import small
from ui.settings import page_settings


def show() -> None:
    st.title("Settings", anchor=False)
    small(
        "They are read when the page starts, from the environment, a file .env and "
        f"{config_file()}, in this order. Keys and passwords are never shown.",
        key="settings",
    )
    st.dataframe(pd.DataFrame(_rows(page_settings())), hide_index=True, alt="Settings")


def _rows(settings: Settings) -> list[dict[str, str]]:
    now, origins = Settings(), sources()
    rows = []
    for name, field in Settings.model_fields.items():
        value = shown_value(settings, name)
        # A library named on the command line, a file that has changed since the start.
        here = getattr(settings, name) == getattr(now, name)
        rows.append(
            {
                "setting": variable(name),
                "value": "" if value is None else str(value),
                "from": origins[name] if here else "the page",
                "what it is for": field.description or "",
            }
        )
    return rows
