"""Relevance without judgments: does a request fit a picture better than chance descriptions do?

    manifest["calibration"] = measure_calibration(encoder)

Cosines of encoders mean different things: of CLIP's, .25 is a match and .2 is none; of SigLIP's, .1
is a match. And within one encoder, some pictures are near to every text. So a cosine is counted in
steps of a picture's own spread of cosines with a background of descriptions, which it does not show
(`scenesearch.search.background`). A picture is as near to its mean and `_CHANCE` spreads by chance
with one description in a thousand. What a request has above that decides, in units of the mean
spread over the library's pictures.

What was compared, and its figures, are in docs/evaluation.md.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.base import Encoder, Scale
from scenesearch.runtime.files import atomic_writer
from scenesearch.search.background import (
    Background,
    background_to_json,
    encode_background,
    read_background,
    read_descriptions,
)

METHOD = "contrast"

_CHANCE = 3.0

# Log odds rise by this for each mean spread where the encoder does not declare its logit scale.
# Half of CLIP's declared scale gives about the same: .5 * 100 * its spread of .015. Half, because
# encoders are surer of the pairs that they were trained on than people are of those that a search
# finds. Declared scales count between the two bounds.
_STEEPNESS, _LEAST, _MOST = 0.8, 0.6, 1.2
_OF_DECLARED = 0.5

# Where 'partial' begins, a relevance of one in five: so many spreads above (below) chance. Of the
# pairs of `clip-vectors`, 81 % of those that match and 2 % of the others reach it.
_PARTIAL_AT = -0.6
_PARTIAL_LOG_ODDS = float(np.log(0.2 / 0.8))

# An encoder folder without a calibration is held against so many of the descriptions each time a
# library is opened: 50 tell apart nearly as much as 450.
_FEW = 64


@dataclass(frozen=True)
class Contrast:
    """How cosines are counted against the background.

    `usual` is the cosine that the library's pictures have by chance, in the mean, and `spread` the
    mean spread of their cosines with the background; both are measured by `among`.
    """

    background: Background
    scale: Scale | None = None
    usual: float = 0.0
    spread: float = 1.0

    def among(self, pictures: NDArray[np.float32]) -> "Contrast":
        """For a library of which these are some pictures, `(n, dimension)`."""
        if len(pictures) == 0:
            return self
        by_chance, spreads = self._by_chance(pictures)
        return replace(self, usual=float(by_chance.mean()), spread=float(spreads.mean()))

    def surplus(self, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        """How much more than the usual picture each one has by chance, `(n, dimension)` ->
        `(n,)`."""
        return self._by_chance(pictures)[0] - self.usual

    def line(self) -> tuple[float, float]:
        """The intercept and slope of log odds against the cosine, for the usual picture."""
        steepness = _STEEPNESS
        if self.scale is not None:
            declared = _OF_DECLARED * self.scale.logit_scale * self.spread
            steepness = min(max(declared, _LEAST), _MOST)
        even = self.usual + self.spread * (_PARTIAL_AT - _PARTIAL_LOG_ODDS / steepness)
        if self.scale is not None and self.scale.logit_bias is not None:
            # The encoder's own even chance, at most one spread away: it was learned on other pairs.
            own = -self.scale.logit_bias / self.scale.logit_scale
            even = (even + min(max(own, even - self.spread), even + self.spread)) / 2
        slope = steepness / self.spread
        return -slope * even, slope

    def _by_chance(
        self, pictures: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cosines = self.background.cosines(pictures)  # (n, descriptions)
        # At least a little: an encoder may give all texts one vector.
        spreads = np.maximum(cosines.std(axis=1, dtype=np.float64), 1e-6)
        return cosines.mean(axis=1, dtype=np.float64) + _CHANCE * spreads, spreads


def measure_calibration(encoder: Encoder) -> dict[str, Any]:
    """The calibration of an encoder without judgments, as `calibration` of encoder.json holds it.

    It encodes some hundred descriptions: seconds for a small encoder, a minute for a large one.
    """
    background = encode_background(encoder, read_descriptions())
    return {
        "method": METHOD,
        "fitted_on": f"{len(background.texts)} background descriptions, no judgments",
        "date": datetime.now(UTC).date().isoformat(),
        "background": background_to_json(background),
    }


def write_calibration(folder: Path, calibration: Mapping[str, Any]) -> None:
    """Into the folder's encoder.json, in place of what it has."""
    file = folder / "encoder.json"
    manifest = json.loads(file.read_bytes()) | {"calibration": dict(calibration)}
    with atomic_writer(file) as out:
        out.write((json.dumps(manifest, indent=2) + "\n").encode())


def measure_few(encoder: Encoder) -> Contrast:
    """The contrast of an encoder whose folder has no calibration, with few descriptions."""
    return Contrast(encode_background(encoder, read_descriptions()[:_FEW]), encoder.info.scale)


def read_contrast(declared: Mapping[str, Any], dimension: int, scale: Scale | None) -> Contrast:
    """Raises BackgroundError for numbers this version cannot use."""
    return Contrast(read_background(declared.get("background"), dimension), scale)
