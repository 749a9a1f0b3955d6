"""What runs in the browser: each component's script, its style sheet, and where it is fetched.

A script's parts are ES modules, so that editors understand them. They are joined without a build:
a part's imports are single lines, and no two parts of a script declare the same name.
`AccessMiddleware` stands before the route.
"""

import re
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent
# Each part uses only those before it. The last mounts the component; its style sheet lies beside
# it, and so does the HTML that it begins with, if any.
PARTS = {
    "filters": ("make.js", "filters/panel.js"),
    "gallery": (
        "make.js",
        "gallery/dom.js",
        "gallery/rows.js",
        "gallery/answer.js",
        "gallery/selection.js",
        "gallery/address.js",
        "gallery/rail.js",
        "gallery/grid.js",
        "gallery/zoom.js",
        "gallery/drawer.js",
        "gallery/viewer.js",
        "gallery/gallery.js",
    ),
    "map": ("make.js", "map/map.js"),
    "tiles": ("make.js", "tiles/tiles.js"),
}


@cache
def component(name: str) -> Any:
    """The component, to be mounted with data whose `base` is `ui.settings.our_base()`."""
    html = _beside(name, ".html")
    return st.components.v2.component(
        name,
        html=html.read_text(encoding="utf-8") if html.exists() else None,
        css=style(name),
        js=loader(name),
    )


@cache
def script(name: str) -> str:
    """One ES module, whose default export mounts the component."""
    text = "\n".join((_FOLDER / part).read_text(encoding="utf-8") for part in PARTS[name])
    text = re.sub(r"^import .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^export (?!default )", "", text, flags=re.MULTILINE)


def style(name: str) -> str:
    """The style sheet of the component's shadow root."""
    return _beside(name, ".css").read_text(encoding="utf-8")


@cache
def version(name: str) -> str:
    """Another text for another script."""
    return sha256(script(name).encode()).hexdigest()[:16]


def loader(name: str) -> str:
    """A module that mounts the script of `scripts/NAME`: Streamlit sends it with every run of the
    page, the browser keeps the script.

    Chromium resolves several imports of one module in any order, so a call with old data may come
    after the one with new data. Streamlit ends an outdated call as soon as that call returns its
    cleanup function, so mounting waits one turn: otherwise old data would be shown, or nothing.
    """
    # Streamlit would take a single line for the name of a file.
    return f"""export default async (it) => {{
  const path = `${{it.data.base}}scripts/{name}?v={version(name)}`;
  const {{ default: mount }} = await import(new URL(path, location.origin).href);
  let end;
  const mounting = setTimeout(() => {{ end = mount(it); }});
  return () => {{
    clearTimeout(mounting);
    end?.();
  }};
}};
"""


def scripts_app(base: str = "") -> Starlette:
    """The routes below `<base>/scripts/`."""
    return Starlette(routes=[Route(f"{base}/scripts/{{name}}", _script)])


async def _script(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in PARTS:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    is_this = request.query_params.get("v") == version(name)
    headers = {
        "Cache-Control": f"private, {'max-age=31536000, immutable' if is_this else 'no-cache'}",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return Response(script(name), headers=headers, media_type="text/javascript")


def _beside(name: str, suffix: str) -> Path:
    return (_FOLDER / PARTS[name][-1]).with_suffix(suffix)
