"""From an encoder's name to its folder: bundled and shelved ones by name, others by path.

The shelf is a folder of encoder folders, `Settings.models_dir`; `scenesearch models` fills it.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenesearch.encoder.base import EncoderError
from scenesearch.errors import did_you_mean
from scenesearch.runtime.private_files import make_private, private_folder

_BUNDLED = Path(__file__).parent.parent / "models"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WORKPLACE = re.compile(r"\.making-.+-(\d+)")


def bundled_encoders() -> list[str]:
    """Names of the encoders inside the package."""
    return sorted(path.parent.name for path in _BUNDLED.glob("*/encoder.json"))


def shelved_encoders(shelf: Path | None) -> list[str]:
    """Names of the encoders on the shelf, broken ones too."""
    if shelf is None or not shelf.is_dir():
        return []
    return sorted(p.name for p in shelf.iterdir() if p.is_dir() and _NAME.fullmatch(p.name))


def find_encoder(name: str, shelf: Path | None = None) -> Path:
    """The encoder folder behind a bundled or shelved name or a path; raises EncoderError.

    A path that exists wins only when it cannot be mistaken: './lite' is the folder, 'lite' the
    bundled encoder.
    """
    if name in bundled_encoders():
        return _BUNDLED / name
    if shelf is not None and name in shelved_encoders(shelf):
        return shelf / name
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    known = f"bundled: {', '.join(bundled_encoders()) or 'none'}"
    if shelved := shelved_encoders(shelf):
        known += f"; shelved: {', '.join(shelved)}"
    looks_like_hub = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    hint = f"; `scenesearch models pull {name}` would bring it" if looks_like_hub else ""
    near = did_you_mean(name, [*bundled_encoders(), *shelved])
    raise EncoderError(
        f"no encoder {name!r}: neither a name ({known}) nor an encoder folder{near or hint}"
    )


@contextmanager
def shelving(shelf: Path, name: str, *, replace: bool) -> Iterator[Path]:
    """A workplace whose subfolder `name` is on the shelf when the block ends well, else nothing.

    An encoder of that name is refused, or with `replace` exchanged at the end. What killed runs
    left behind is removed.
    """
    if not _NAME.fullmatch(name):
        raise EncoderError(f"name {name!r}: letters, digits, '.', '_', '-', at most 64")
    if name in bundled_encoders():
        raise EncoderError(f"{name} is the name of a bundled encoder: choose another with --name")
    if (shelf / name).exists() and not replace:
        raise EncoderError(f"{name} is on the shelf: --force replaces it, --name puts it beside")
    private_folder(shelf)
    for left in shelf.iterdir():
        found = _WORKPLACE.fullmatch(left.name)
        if found and not _is_running(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    workplace = shelf / f".making-{name}-{os.getpid()}"
    private_folder(workplace)
    try:
        yield workplace
        make_private(workplace / name)
        if (shelf / name).exists():
            (shelf / name).replace(workplace / "before")
        (workplace / name).replace(shelf / name)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
