"""Why a picture was found: what each word adds, and where in the picture it is seen.

A word is left out of the description, or a patch of the picture is covered (M. Zeiler, R. Fergus
2014, Visualizing and Understanding Convolutional Networks): how much less likely is the picture
then? Effects are differences of log odds, so that words and patches can be compared.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from scenesearch.encoder.base import Encoder
from scenesearch.encoder.preprocessing import as_input, as_picture
from scenesearch.search.query_vector import QueryVector
from scenesearch.search.request import Phrase, Request, Text
from scenesearch.search.searcher import Searcher
from scenesearch.search.text_match import AskedWords
from scenesearch.store.written import WrittenLine

# Coarser than the image tower's own grid; 49 pictures to encode.
GRID = 7
# A patch is larger than its cell, so that it also covers things on the border of two cells.
_PATCH = 1.5
_BATCH = 8
MAX_WORDS = 40


@dataclass(frozen=True)
class WordEffect:
    """A word and the log odds that the picture loses without it (negative: it gains)."""

    word: str
    effect: float


@dataclass(frozen=True)
class HeatMap:
    """Log odds that the picture loses with each cell covered, `(rows, columns)`.

    The cells cover the `box` of the picture: left, top, right, bottom as shares of its sides. Some
    encoders only see the square in the middle.
    """

    cells: NDArray[np.float32]
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Why:
    """What made a picture relevant to a request.

    `relevance` belongs to the cosine; in an answer another hit may have it (see `Hit`). Of a long
    description only the first words are examined; `more_words` were not. `text` are the lines
    written in the picture that hold words of the request.
    """

    image_id: str
    relevance: float
    words: tuple[WordEffect, ...]
    heat: HeatMap | None
    more_words: int = 0
    text: tuple[WrittenLine, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch search --why RANK --json`."""
        return {
            "image_id": self.image_id,
            "relevance": self.relevance,
            "words": [{"word": word.word, "effect": word.effect} for word in self.words],
            "more_words": self.more_words,
            "heat": None if self.heat is None else self.heat.cells.tolist(),
            "heat_box": None if self.heat is None else list(self.heat.box),
            "text": [
                {"line": line.text, "box": list(line.box), "confidence": line.confidence}
                for line in self.text
            ],
        }


def why(
    searcher: Searcher,
    encoder: Encoder,
    request: Request,
    image_id: str,
    vector: NDArray[np.float32],
    picture: Image.Image | None = None,
    payload: Mapping[str, Any] = MappingProxyType({}),
) -> Why:
    """The effects of the words of a request on a picture of the library with this embedding, and
    of the parts of the upright RGB `picture` if it is given. Subtracted words have effects too.
    The `payload` of its point says what is written in it.
    """
    query = searcher.query_vector(request)
    effects = tuple(_word_effects(searcher, request, query, vector))
    words = sum(len(part.text.split()) for part in request.parts if isinstance(part, Text))
    return Why(
        image_id,
        float(query.relevance(vector @ query.vector)),
        effects,
        None if picture is None else heat_map(encoder, query, picture),
        words - len(effects),
        tuple(AskedWords.of(request).lines(payload)),
    )


def _word_effects(
    searcher: Searcher, request: Request, query: QueryVector, vector: NDArray[np.float32]
) -> list[WordEffect]:
    whole = float(query.log_odds(vector @ query.vector))
    effects: list[WordEffect] = []
    for number, part in enumerate(request.parts):
        if not isinstance(part, Text):
            continue
        words = [(p, word) for p, phrase in enumerate(part.phrases) for word in phrase.text.split()]
        for position, (_, word) in enumerate(words):
            if len(effects) == MAX_WORDS:
                return effects
            rest = _phrases(part.phrases, words[:position] + words[position + 1 :])
            parts = list(request.parts)
            if rest:
                parts[number] = replace(part, phrases=rest)
            else:
                del parts[number]
            if any(not other.excluded for other in parts):
                without = searcher.query_vector(replace(request, parts=tuple(parts)))
                effect = whole - float(without.log_odds(vector @ without.vector))
            else:
                # Without its only wanted word a request asks for nothing. So this one is compared
                # with what it says of an average picture.
                alone = searcher.query_vector(replace(request, parts=(part,)))
                average = searcher.calibration.average(alone.vector)
                effect = float(alone.slope * (vector @ alone.vector - average))
            effects.append(WordEffect(word, effect))
    return effects


def _phrases(phrases: Sequence[Phrase], words: Sequence[tuple[int, str]]) -> tuple[Phrase, ...]:
    """The phrases with only these words left; each word has the number of its phrase."""
    texts = [" ".join(word for p, word in words if p == number) for number in range(len(phrases))]
    kept = zip(phrases, texts, strict=True)
    return tuple(replace(phrase, text=text) for phrase, text in kept if text)


def heat_map(encoder: Encoder, query: QueryVector, picture: Image.Image) -> HeatMap:
    """Where the picture shows what the query looks for; takes as long as encoding 50 pictures."""
    declared = encoder.info.image
    seen = as_picture(encoder.preprocess(picture), declared)
    # The picture's mean colour, which shows nothing.
    grey = seen.mean(axis=(0, 1)).astype(seen.dtype)
    height, width = seen.shape[:2]
    covered = []
    for cell in range(GRID * GRID):
        row, column = divmod(cell, GRID)
        top, bottom = _span(row, height)
        left, right = _span(column, width)
        hidden = seen.copy()
        hidden[top:bottom, left:right] = grey
        covered.append(as_input(hidden, declared))
    covered.append(as_input(seen, declared))
    cosines = np.concatenate(
        [
            encoder.encode_pixels(np.stack(covered[start : start + _BATCH])) @ query.vector
            for start in range(0, len(covered), _BATCH)
        ]
    )
    odds = query.log_odds(cosines)  # the last is the whole picture's
    cells = (odds[-1] - odds[:-1]).reshape(GRID, GRID).astype(np.float32)
    return HeatMap(cells, _seen(encoder, picture))


def _span(cell: int, side: int) -> tuple[int, int]:
    size = side / GRID
    centre = (cell + 0.5) * size
    reach = size * _PATCH / 2
    return max(0, round(centre - reach)), min(side, round(centre + reach))


def _seen(encoder: Encoder, picture: Image.Image) -> tuple[float, float, float, float]:
    """The part of the picture that the encoder sees, as shares of its sides; beyond 0 and 1 where
    it sees a border around the picture."""
    declared = encoder.info.image
    height, width = declared.size
    ratios = (width / picture.width, height / picture.height)
    match declared.resize:
        case "squash" | "patches":
            return 0.0, 0.0, 1.0, 1.0
        case "longest":
            scale = min(ratios)
        case "shortest_edge_crop":
            edge = declared.edge or min(declared.size)
            scale = max(ratios) * edge / min(declared.size)
    margin_x = (1 - width / (picture.width * scale)) / 2
    margin_y = (1 - height / (picture.height * scale)) / 2
    return margin_x, margin_y, 1 - margin_x, 1 - margin_y


def overlay(picture: Image.Image, heat: HeatMap) -> Image.Image:
    """The picture with its map laid over it, red where the effect is largest."""
    largest = max(float(heat.cells.max()), 1e-6)
    strength = np.clip(heat.cells / largest, 0, 1)
    left, top, right, bottom = heat.box
    corner = (round(left * picture.width), round(top * picture.height))
    size = (
        max(1, round((right - left) * picture.width)),
        max(1, round((bottom - top) * picture.height)),
    )
    mask = Image.fromarray((strength * 160).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    shown = picture.copy()
    shown.paste(Image.new("RGB", size, (230, 30, 30)), corner, mask)
    return shown


def outline(
    picture: Image.Image, lines: Sequence[WrittenLine], marked: Collection[WrittenLine] = ()
) -> Image.Image:
    """The picture with frames around these lines of text, those that are marked in red."""
    shown = picture.copy()
    draw = ImageDraw.Draw(shown)
    width = max(2, round(max(picture.size) / 300))
    for line in lines:
        xs, ys = line.box[::2], line.box[1::2]
        corners = [(x * picture.width, y * picture.height) for x, y in zip(xs, ys, strict=True)]
        colour = (230, 30, 30) if line in marked else (255, 190, 0)
        draw.line([*corners, *corners[:2]], colour, width, joint="curve")
    return shown
