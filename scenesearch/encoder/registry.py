"""Finds the encoders on this machine: by name, by fingerprint, or all of them.

Encoders bundled with the package and those on the shelf (`Settings.models_dir`, filled by
`scenesearch models`) have names; any other is given by its folder. A collection records its
encoder's fingerprint. When pictures are encoded with an encoder from another folder, that folder is
remembered in a file, a JSON object of fingerprint -> folder.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from scenesearch.encoder.base import (
    EncoderError,
    EncoderInfo,
    EncoderReplaced,
    EncoderUnreadable,
)
from scenesearch.encoder.folder import read_encoder_info, unreadable
from scenesearch.errors import did_you_mean
from scenesearch.runtime.files import atomic_writer, private_folder

_BUNDLED = Path(__file__).parent.parent / "models"
ENCODER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def bundled_encoders() -> list[str]:
    """Names of the encoders inside the package."""
    return sorted(path.parent.name for path in _BUNDLED.glob("*/encoder.json"))


def shelved_encoders(shelf: Path | None) -> list[str]:
    """Names of the encoders on the shelf, broken ones too."""
    if shelf is None or not shelf.is_dir():
        return []
    return sorted(p.name for p in shelf.iterdir() if p.is_dir() and ENCODER_NAME.fullmatch(p.name))


# --- by name ---------------------------------------------------------------------------------


def find_encoder(name: str, shelf: Path | None = None) -> Path:
    """The folder of a bundled or shelved encoder, or the folder given; raises EncoderError.

    Names come first: 'lite' is always the bundled encoder; './lite' is the folder.
    """
    if name in bundled_encoders():
        return _BUNDLED / name
    shelved = shelved_encoders(shelf)
    if shelf is not None and name in shelved:
        return shelf / name
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    known = f"bundled: {', '.join(bundled_encoders()) or 'none'}"
    if shelved:
        known += f"; shelved: {', '.join(shelved)}"
    looks_like_hub = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    hint = f"; `scenesearch models pull {name}` would bring it" if looks_like_hub else ""
    near = did_you_mean(name, [*bundled_encoders(), *shelved])
    raise EncoderError(
        f"no encoder {name!r}: neither a name ({known}) nor an encoder folder{near or hint}"
    )


# --- by fingerprint --------------------------------------------------------------------------


def find_by_fingerprint(
    fingerprint: str,
    name: str,
    *,
    library: str,
    default: str,
    shelf: Path | None = None,
    file: Path | None = None,
) -> Path:
    """The folder of the encoder with this fingerprint; `name` is the name it had when `library`
    was made with it.

    Looks at the default encoder (a name or a folder), at all bundled and shelved ones, and at the
    folder remembered in `file`. Raises EncoderError when none has the fingerprint, EncoderReplaced
    where another one has the name.
    """
    remembered = _read_remembered(file).get(fingerprint) if file else None
    obstructed: EncoderUnreadable | None = None
    namesake = ""
    for folder in _candidates(name, default, remembered, shelf):
        try:
            found = read_encoder_info(folder).fingerprint
            if found == fingerprint:
                return folder
            if folder == _named(name, shelf):
                namesake = found
        except EncoderUnreadable as error:  # this may be the one
            obstructed = obstructed or error
        except EncoderError:  # a broken one is not the one
            continue
    if obstructed is not None:
        raise obstructed
    if namesake:
        raise EncoderReplaced(library, name, was=fingerprint, now=namesake)
    last = f", nor in {remembered} any longer" if remembered else ""
    raise EncoderError(
        f"encoder {name} ({fingerprint[:8]}) is not on this machine: no bundled or shelved encoder "
        f"has that fingerprint{last}; give its folder with --encoder or put it on the shelf"
    )


def _candidates(
    name: str, default: str, remembered: str | None, shelf: Path | None
) -> Iterator[Path]:
    """The likeliest first: a cold search should read only one encoder.json."""
    named = _named(name, shelf)
    if named is not None:
        yield named
    with suppress(EncoderError):
        yield find_encoder(default, shelf)
    if remembered is not None:
        yield Path(remembered)
    for other in _names(shelf):
        yield find_encoder(other, shelf)


def _named(name: str, shelf: Path | None) -> Path | None:
    return find_encoder(name, shelf) if name in _names(shelf) else None


def _names(shelf: Path | None) -> dict[str, None]:
    """Of the bundled and the shelved encoders, each once."""
    return dict.fromkeys((*bundled_encoders(), *shelved_encoders(shelf)))


def remember_encoder(file: Path, info: EncoderInfo) -> None:
    """Record the encoder's folder, for `find_by_fingerprint`."""
    if info.folder is None:
        return
    remembered = _read_remembered(file)
    folder = str(info.folder.resolve())
    if remembered.get(info.fingerprint) == folder:
        return
    private_folder(file.parent)
    with atomic_writer(file, private=True) as out:
        text = json.dumps(remembered | {info.fingerprint: folder}, indent=1, sort_keys=True)
        out.write(text.encode("utf-8", "surrogateescape"))


def _read_remembered(file: Path) -> dict[str, str]:
    try:
        remembered = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(file, error) from None
    except (ValueError, RecursionError):
        remembered = None
    if not isinstance(remembered, dict) or not all(
        isinstance(folder, str) and "\0" not in folder for folder in remembered.values()
    ):
        raise EncoderError(
            f"{file} is damaged: expected a JSON object of fingerprints and folders; copy it "
            "elsewhere, then delete it"
        )
    return remembered


# --- all of them -----------------------------------------------------------------------------


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder with its name; one that cannot be read has no `info`, but the reason in
    `broken`."""

    name: str
    place: Literal["bundled", "shelf"]
    folder: Path
    info: EncoderInfo | None
    broken: str = ""

    @property
    def megabytes(self) -> float:
        """Size of all that is loaded for serving."""
        if self.info is None:
            return 0.0
        return round(sum((self.folder / part).stat().st_size for part in self.info.parts) / 1e6, 1)

    @property
    def recalls(self) -> str:
        """'26.5 / 56.9 / 71.1 among 1000 pictures (flickr8k-1k)': Recall@1, 5 and 10 in per cent,
        text to image, in the largest gallery whose scores the encoder declares."""
        measured = {
            name: found
            for name, found in (self.info.scores if self.info else {}).items()
            if isinstance(found, dict)
            and all(
                isinstance(value := found.get(key), int | float) and abs(value) < 1e9
                for key in ("recall@1", "recall@5", "recall@10", "gallery")
            )
        }
        if not measured:
            return "not measured"
        name = max(measured, key=lambda name: measured[name]["gallery"])
        found = measured[name]
        recalls = " / ".join(f"{found[f'recall@{k}']:.1f}" for k in (1, 5, 10))
        return f"{recalls} among {found['gallery']} pictures ({name})"

    @property
    def card(self) -> Path | None:
        """The model card, if there is one."""
        file = self.folder / "README.md"
        return file if file.is_file() else None

    def to_json(self, *, default: bool) -> dict[str, Any]:
        """The row as `scenesearch models list --json` prints it."""
        row: dict[str, Any] = {"name": self.name, "place": self.place, "default": default}
        if self.info is None:
            return row | {"broken": self.broken}
        return row | {
            "dimension": self.info.dimension,
            "mb": self.megabytes,
            "scores": self.info.scores,
            "calibrated": bool(self.info.calibration),
        }


def list_encoders(shelf: Path | None) -> list[EncoderEntry]:
    """The bundled encoders, then those on the shelf, each group sorted by name."""
    bundled = bundled_encoders()
    found = []
    for name in dict.fromkeys([*bundled, *shelved_encoders(shelf)]):
        place: Literal["bundled", "shelf"] = "bundled" if name in bundled else "shelf"
        folder = find_encoder(name, shelf)
        try:
            found.append(EncoderEntry(name, place, folder, read_encoder_info(folder)))
        except EncoderError as error:
            found.append(EncoderEntry(name, place, folder, None, str(error)))
    return found
