"""Every encoder there is on this machine, with its size and scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scenesearch.encoder.base import EncoderError, EncoderInfo
from scenesearch.encoder.folder import read_encoder_info
from scenesearch.encoder.registry import bundled_encoders, find_encoder, shelved_encoders


@dataclass(frozen=True)
class Shelved:
    """An encoder by name; one that cannot be read has no `info` but the reason in `broken`."""

    name: str
    place: Literal["bundled", "shelf"]
    folder: Path
    info: EncoderInfo | None
    broken: str = ""

    @property
    def megabytes(self) -> float:
        """Of all that is loaded to serve."""
        if self.info is None:
            return 0.0
        return round(sum((self.folder / part).stat().st_size for part in self.info.parts) / 1e6, 1)

    @property
    def recalls(self) -> str:
        """'26.5 / 56.9 / 71.1 among 1000 pictures (flickr8k-1k)': Recall@1, 5 and 10 in per cent,
        text to image, of the largest gallery that the encoder declares."""
        measured = {
            name: found
            for name, found in (self.info.scores if self.info else {}).items()
            if isinstance(found, dict)
            and all(
                isinstance(found.get(key), int | float)
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


def shelved(shelf: Path | None) -> list[Shelved]:
    """Bundled encoders, then those on the shelf, each by name."""
    bundled, own = bundled_encoders(), shelved_encoders(shelf)
    found = []
    for name in dict.fromkeys([*bundled, *own]):
        place: Literal["bundled", "shelf"] = "bundled" if name in bundled else "shelf"
        folder = find_encoder(name, shelf)
        try:
            found.append(Shelved(name, place, folder, read_encoder_info(folder)))
        except EncoderError as error:
            found.append(Shelved(name, place, folder, None, str(error)))
    return found
