"""From an encoder's name to its folder: bundled ones by name, others by path."""

from pathlib import Path

from scenesearch.encoder.base import EncoderError

_BUNDLED = Path(__file__).parent.parent / "models"


def bundled_encoders() -> list[str]:
    """Names of the encoders inside the package."""
    return sorted(path.parent.name for path in _BUNDLED.glob("*/encoder.json"))


def find_encoder(name: str) -> Path:
    """The encoder folder behind a bundled name or a path; raises EncoderError.

    A path that exists wins only when it cannot be mistaken: './lite' is the folder, 'lite' the
    bundled encoder.
    """
    if name in bundled_encoders():
        return _BUNDLED / name
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    bundled = ", ".join(bundled_encoders()) or "none"
    looks_like_hub = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    hint = (
        " (a hub model has to be exported into an encoder folder first)" if looks_like_hub else ""
    )
    raise EncoderError(
        f"no encoder {name!r}: neither a bundled one ({bundled}) nor an encoder folder{hint}"
    )
