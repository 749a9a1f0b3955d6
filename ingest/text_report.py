"""The counts of a run that reads the text in pictures, while it runs and at its end."""

from dataclasses import dataclass, field
from typing import Any

# So many pictures that could not be read are named in a report.
_NAMED = 20


@dataclass
class TextReport:
    """Counts of a run: of `total` pictures in the live collection `seen` were looked at, of which
    `skipped` had been read before. `read` contents were opened and read, of which `with_text` show
    text, and of those that were too long for their time, `cut`, a part. `reused` pictures took the
    text of their content. `failed` could not be opened, and are tried again by the next run;
    `reasons` names some, by path."""

    library: str
    total: int = 0
    seen: int = 0
    skipped: int = 0
    read: int = 0
    with_text: int = 0
    cut: int = 0
    reused: int = 0
    failed: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def images_per_s(self) -> float:
        return self.read / self.seconds if self.seconds > 0 else 0.0

    def fail(self, path: str, reason: str) -> None:
        self.failed += 1
        if len(self.reasons) < _NAMED:
            self.reasons[path] = reason

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch library read-text --json`."""
        reasons = [{"path": path, "reason": reason} for path, reason in self.reasons.items()]
        rates = {"seconds": round(self.seconds, 3), "images_per_s": round(self.images_per_s, 2)}
        return vars(self) | {"reasons": reasons} | rates
