"""The component that draws a map: a canvas, its tools and, by likeness, the names of its parts."""

from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlencode

from ui.scripts import component
from ui.settings import our_base

Kind = Literal["likeness", "place"]


def draw_map(
    kind: Kind,
    token: str,
    *,
    key: str,
    parts: list[list[object]] | None = None,
    colour: Mapping[str, object] | None = None,
    small: bool = False,
    box: list[float] | None = None,
    on_box: Callable[[], None] | None = None,
) -> Any:
    """Draw the map of this token; returns the component's state: `chosen` is what is selected,
    `open` the number of a picture that was clicked just now. Of the small map, `box` is what was
    drawn last (west, south, east, north), `on_box` is called when it is another one."""
    data = {
        "kind": kind,
        "base": our_base(),
        "token": token,
        "points": f"maps/points?{urlencode({'map': token})}",
        "parts": parts or [],
        "colour": colour,
        "small": small,
        "box": box,
    }
    if small:
        return component("map")(
            data=data, key=key, on_box_change=on_box or _nothing, on_lost_change=_nothing
        )
    return component("map")(
        data=data,
        key=key,
        default={"chosen": None},
        on_chosen_change=_nothing,
        on_open_change=_nothing,
        on_lost_change=_nothing,
    )


def _nothing() -> None:
    """Streamlit takes states and triggers that have a callback only; a rerun is all we want."""
