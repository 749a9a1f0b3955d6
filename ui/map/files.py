"""What the map's component is made of, as the texts that Streamlit's components take."""

from functools import cache
from hashlib import sha256
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def text_of(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def version() -> str:
    """Another text for another script."""
    return sha256(text_of("map.js").encode()).hexdigest()[:16]


def loader() -> str:
    """A module that mounts the script of `maps/script`: Streamlit sends it with every run of the
    page, the browser keeps the script."""
    # Streamlit would take a single line for the name of a file.
    return f"""export default async (it) => {{
  const address = new URL(`${{it.data.base}}maps/script?v={version()}`, location.origin);
  return (await import(address.href)).default(it);
}};
"""


@cache
def land() -> bytes:
    """The coastlines (tests/coastline.py has the format)."""
    return (_FOLDER / "land.bin").read_bytes()
