"""The text that is written in a picture, in its stored payload.

`text` holds the lines in the order of reading, with a line break between two of them, `text_words`
the words of these lines, and `text_lines` where each line lies and how sure its reading is.
`text_version` says what read them; a picture without text has this one alone.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

TEXT: Final = "text"
WORDS: Final = "text_words"
LINES: Final = "text_lines"
VERSION: Final = "text_version"
KEYS: Final = (TEXT, WORDS, LINES, VERSION)

MOST_LINES: Final = 2_000
_MOST_WORDS: Final = 5_000
_LONGEST_WORD: Final = 100

_WORD = re.compile(r"\w+")
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l"})
# Letters of scripts that put no blanks between words: Thai, Lao, kana, Chinese.
_UNSPACED = re.compile(r"([\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+)")


@dataclass(frozen=True)
class WrittenLine:
    """A line of text in a picture.

    `box` has its four corners, x before y, as shares of the upright picture's sides; from the
    beginning of the line's upper edge on, in the direction of reading. `confidence` is 0-1.
    """

    text: str
    box: tuple[float, ...]
    confidence: float


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared: in lower case, without accents, in their order."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    # Scripts whose letters NFKD takes apart are put together again.
    return _WORD.findall(unicodedata.normalize("NFKC", plain))


def is_unspaced(word: str) -> bool:
    """Whether several words may stand in this one."""
    return _UNSPACED.search(word) is not None


def tokens_of(text: str) -> list[str]:
    """The words of a text, in their order, as requests are matched with them: of scripts without
    blanks each two letters in a row."""
    found: list[str] = []
    for word in words_of(text):
        for part in filter(None, _UNSPACED.split(word)):
            if is_unspaced(part) and len(part) > 1:
                found += [part[start : start + 2] for start in range(len(part) - 1)]
            else:
                found.append(part)
    return found


def alike(text: str) -> str:
    """The text with one letter for those that readers take for one another: 'INV0ICE'."""
    return text.translate(_ALIKE)


def written_payload(lines: Sequence[WrittenLine], version: int) -> dict[str, Any]:
    """The keys of a payload that say what is written in the picture."""
    said: dict[str, Any] = {VERSION: version}
    if not lines:
        return said
    text = "\n".join(line.text for line in lines)
    words = dict.fromkeys(word[:_LONGEST_WORD] for word in words_of(text))
    said[TEXT] = text
    if words:
        said[WORDS] = list(words)[:_MOST_WORDS]
    said[LINES] = [
        {
            "box": [round(share, 4) for share in line.box],
            "confidence": round(line.confidence, 3),
        }
        for line in lines
    ]
    return said


def with_text(payload: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with this text in place of the one that it has."""
    return {key: value for key, value in payload.items() if key not in KEYS} | dict(text)


def text_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the payload that say what is written in the picture; none if nobody has read."""
    return {key: payload[key] for key in KEYS if key in payload}


def written_lines(payload: Mapping[str, Any]) -> list[WrittenLine]:
    """The lines of text in a picture, in the order of reading; none where their places are not
    those of the text."""
    text, places = payload.get(TEXT), payload.get(LINES)
    if not isinstance(text, str) or not are_places(places):
        return []
    lines = text.split("\n")
    if len(lines) != len(places):
        return []
    return [
        WrittenLine(line, tuple(place["box"]), place["confidence"])
        for line, place in zip(lines, places, strict=True)
    ]


def are_places(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Whether it says where lines lie."""
    return type(value) is list and len(value) <= MOST_LINES and all(map(_is_place, value))


def _is_place(value: Any) -> bool:
    return (
        type(value) is dict
        and value.keys() == {"box", "confidence"}
        and type(value["box"]) is list
        and len(value["box"]) == 8
        and all(_is_share(share) for share in (*value["box"], value["confidence"]))
    )


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1
