"""The gallery's script and style sheet, each as the one text that Streamlit's components take.

The script's parts are ES modules, so that editors understand them. They are joined without a
build: a part's imports are single lines, and no two parts declare the same name.
"""

import re
from functools import cache
from hashlib import sha256
from pathlib import Path

_FOLDER = Path(__file__).parent
# Each part uses only those before it.
PARTS = (
    "dom.js",
    "rows.js",
    "answer.js",
    "selection.js",
    "address.js",
    "rail.js",
    "grid.js",
    "zoom.js",
    "drawer.js",
    "viewer.js",
    "gallery.js",
)


@cache
def script() -> str:
    """One ES module, whose default export mounts the gallery."""
    text = "\n".join((_FOLDER / part).read_text(encoding="utf-8") for part in PARTS)
    text = re.sub(r"^import .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^export (?!default )", "", text, flags=re.MULTILINE)


@cache
def version() -> str:
    """Another text for another script."""
    return sha256(script().encode()).hexdigest()[:16]


@cache
def loader() -> str:
    """A module that mounts the script of `gallery/script`: Streamlit sends it with every run of
    the page, the browser keeps the script."""
    # Streamlit would take a single line for the name of a file.
    return f"""export default async (it) => {{
  const address = new URL(`${{it.data.base}}gallery/script?v={version()}`, location.origin);
  return (await import(address.href)).default(it);
}};
"""


@cache
def style() -> str:
    """The style sheet of the gallery's shadow root."""
    return (_FOLDER / "gallery.css").read_text(encoding="utf-8")
