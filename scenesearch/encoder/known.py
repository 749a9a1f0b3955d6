"""From a fingerprint to an encoder folder: a collection names its encoder by it.

Bundled and shelved encoders are found by themselves. Folders elsewhere are remembered, in a JSON
object of fingerprint -> folder, when pictures are encoded with them.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from scenesearch.encoder.base import EncoderError, EncoderInfo, EncoderUnreadable
from scenesearch.encoder.folder import read_encoder_info, unreadable
from scenesearch.encoder.registry import bundled_encoders, find_encoder, shelved_encoders
from scenesearch.pictures.opening import atomic_writer
from scenesearch.runtime.private_files import private_folder


def remember_encoder(file: Path, info: EncoderInfo) -> None:
    """Note where the encoder's folder lies, for `find_by_fingerprint`."""
    if info.folder is None:
        return
    known = _read(file)
    folder = str(info.folder.resolve())
    if known.get(info.fingerprint) == folder:
        return
    private_folder(file.parent)
    with atomic_writer(file, private=True) as out:
        text = json.dumps(known | {info.fingerprint: folder}, indent=1, sort_keys=True)
        out.write(text.encode("utf-8", "surrogateescape"))


def find_by_fingerprint(
    fingerprint: str,
    name: str,
    *,
    default: str,
    shelf: Path | None = None,
    file: Path | None = None,
) -> Path:
    """The folder of the encoder with this fingerprint; `name` is what it was called.

    Raises EncoderError when neither the default one (a name or a folder) nor any bundled, shelved
    or remembered folder has it.
    """
    remembered = _read(file).get(fingerprint) if file else None
    in_the_way: EncoderUnreadable | None = None
    for folder in _candidates(name, default, remembered, shelf):
        try:
            if read_encoder_info(folder).fingerprint == fingerprint:
                return folder
        except EncoderUnreadable as error:  # this may be the one
            in_the_way = in_the_way or error
        except EncoderError:  # a broken one is not the one
            continue
    if in_the_way is not None:
        raise in_the_way
    last = f", nor in {remembered} any longer" if remembered else ""
    raise EncoderError(
        f"encoder {name} ({fingerprint[:8]}) is not on this machine: no bundled or shelved encoder "
        f"has that fingerprint{last}; give its folder with --encoder or put it on the shelf"
    )


def _candidates(
    name: str, default: str, remembered: str | None, shelf: Path | None
) -> Iterator[Path]:
    """The likeliest first: a cold search should read one encoder.json."""
    names = dict.fromkeys((*bundled_encoders(), *shelved_encoders(shelf)))
    if name in names:
        yield find_encoder(name, shelf)
    with suppress(EncoderError):
        yield find_encoder(default, shelf)
    if remembered is not None:
        yield Path(remembered)
    for other in names:
        yield find_encoder(other, shelf)


def _read(file: Path) -> dict[str, str]:
    try:
        known = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(file, error) from None
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict) or not all(
        isinstance(folder, str) and "\0" not in folder for folder in known.values()
    ):
        raise EncoderError(
            f"{file} is damaged: expected a JSON object of fingerprints and folders; copy it "
            "elsewhere, then delete it"
        )
    return known
