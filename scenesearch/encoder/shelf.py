"""Puts an encoder on the shelf, whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenesearch.encoder.base import EncoderError
from scenesearch.encoder.registry import ENCODER_NAME, bundled_encoders
from scenesearch.runtime.files import make_private, private_folder

_PREFIX = ".making-"


@contextmanager
def adding_to_shelf(shelf: Path, name: str, *, replace: bool) -> Iterator[Path]:
    """A temporary folder; its subfolder `name` moves to the shelf if the block ends without error.

    An encoder of that name is refused, or replaced at the end with `replace`. Temporary folders
    that killed runs left behind are removed.
    """
    if not ENCODER_NAME.fullmatch(name):
        raise EncoderError(f"name {name!r}: letters, digits, '.', '_', '-', at most 64")
    if name in bundled_encoders():
        raise EncoderError(f"{name} is the name of a bundled encoder: choose another with --name")
    if (shelf / name).exists() and not replace:
        raise EncoderError(f"{name} is on the shelf: --force replaces it, --name puts it beside")
    private_folder(shelf)
    for left in shelf.glob(f"{_PREFIX}*"):
        pid = left.name.rpartition("-")[2]
        if pid.isdecimal() and not _is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    workplace = private_folder(shelf / f"{_PREFIX}{name}-{os.getpid()}")
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
    except OSError:  # the process belongs to another user
        return True
    return True
