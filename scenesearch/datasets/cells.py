"""What a cell of a table means: missing, a list of texts, a number, yes or no.

Every reader of tables asks here, so that the same cell means the same in a manifest, in the texts
of an archive and in a query file. Nothing of a cell is ever evaluated.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite, isinf, isnan
from typing import Any, Final

from scenesearch.pictures.formats import SUFFIXES, suffix_of
from scenesearch.pictures.records import GeoPoint, MetadataType, Value

# How pandas, SQL and spreadsheets write that there is no value.
_MISSING: Final = frozenset(
    {"", "NaN", "nan", "-NaN", "-nan", "NAN", "NULL", "Null", "null", "None", "none", "NaT"}
    | {"N/A", "n/a", "#N/A", "#NA", "<NA>", "<na>"}
)
# These are words as well ('NA' is Namibia): they are missing only among numbers, dates and yes/no.
_PERHAPS_MISSING: Final = frozenset({"NA", "na", "-", "--", "?", "#DIV/0!", "#VALUE!"})
_HALF = re.compile("[\ud800-\udfff]")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)

LATITUDE, LONGITUDE = ("latitude", "lat"), ("longitude", "lon", "lng", "long")
_INT64 = range(-(2**63), 2**63)
# From here on a float cannot hold every integer.
_EXACT = 2**53


class LooseText(str):
    """A cell of CSV or TSV: its type must be guessed, unlike that of a string in JSON."""

    __slots__ = ()


def composed(text: str) -> str:
    """The text in NFC: 'é' is one character, however a file system or keyboard writes it."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_missing(value: Any) -> bool:
    """Whether the cell says that there is no value."""
    if isinstance(value, LooseText):
        return value in _MISSING or value.strip() in _MISSING
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float | Decimal):
        return isnan(value)
    return value is None or value in ([], ()) or type(value).__name__ in ("NaTType", "NAType")


def means_no_number(value: Any) -> bool:
    """Whether the cell means no value if its column holds numbers, dates or yes and no."""
    if isinstance(value, LooseText):
        return len(value) < 10 and (value in _PERHAPS_MISSING or is_infinite(value))
    return is_infinite(value)


def is_infinite(value: Any) -> bool:
    """Whether the cell is an infinite number, which no field can hold."""
    if isinstance(value, float | Decimal):
        return isinf(value)
    return isinstance(value, LooseText) and bool(_INFINITE.fullmatch(value))


def json_row(text: str) -> dict[str, Any] | str:
    """The values by column of a JSON object, or why it is none."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(row, dict):
        return "is not a JSON object"
    # JSON can name half a character, which no file and no store can hold.
    if "\\u" in text and _HALF.search(json.dumps(row, ensure_ascii=False)):
        return "names half a character, '\\ud800' or the like"
    return row


# --- lists -----------------------------------------------------------------------------------

_WRAPPED = re.compile(r"(?:array|list|tuple|set|frozenset)\((.*?)(?:,\s*dtype=[^)]*)?\)", re.DOTALL)
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
# Possessive, so that a long cell of quotes takes linear time to fail.
_ITEM = re.compile(
    r"""\s*(?:[urb]?'((?:[^'\\]|\\.)*+)'|[ur]?"((?:[^"\\]|\\.)*+)"|(None|nan|NaN|null))\s*(,?)""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\n": ""}


def texts_listed(text: str) -> list[str] | None:
    """The texts of a cell that is a list: JSON, Python (`['sea', 'boat']`) or numpy
    (`['sea' 'boat']`); None for every other cell."""
    text = text.strip()
    if wrapped := _WRAPPED.fullmatch(text):
        text = wrapped[1].strip()
    if len(text) < 2 or _BRACKETS.get(text[0]) != text[-1]:
        return None
    listed = _json_texts(text) if text[0] == "[" else None
    if listed is None:
        listed = _quoted_texts(text[1:-1])
    return None if listed is None or any(map(_HALF.search, listed)) else listed


def words_listed(text: str, separators: str) -> list[str]:
    """The words of a cell: a list of texts, bare words in brackets, or parts between separators."""
    listed = texts_listed(text)
    if listed is None:
        inner = text.strip()
        if inner.startswith("[") and inner.endswith("]"):
            inner = inner[1:-1]
        listed = re.split(separators, inner)
    return [part for part in map(str.strip, listed) if part]


def pictures_listed(text: str) -> list[str]:
    """The names of pictures in a cell: a list, or names between '|', ';', ',' or line breaks.

    Blanks separate names too if each part has a picture's suffix: 'my dog.jpg' is one name.
    """
    names: list[str] = []
    for name in words_listed(text, r"[|;,\n]"):
        parts = name.split()
        several = len(parts) > 1 and all(suffix_of(part) in SUFFIXES for part in parts)
        names += parts if several else [name.strip("'\"")]
    return [composed(name) for name in names if name]


def _json_texts(text: str) -> list[str] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(part, str | None) for part in value):
        return None
    return [part for part in value if part is not None]


def _quoted_texts(inner: str) -> list[str] | None:
    """Quoted texts between commas or blanks, as Python and numpy write them."""
    inner = inner.strip()
    texts: list[str] = []
    position = 0
    while position < len(inner):
        match = _ITEM.match(inner, position)
        if match is None:
            return None
        single, double, nothing, _ = match.groups()
        if nothing is None:
            texts.append(_unescaped(single if double is None else double))
        position = match.end()
    return texts


def _unescaped(text: str) -> str:
    def meant(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "xuU" and len(code) > 1:
            number = int(code[1:], 16)
            return chr(number) if number <= 0x10FFFF else "\ufffd"
        if code[0] in "01234567":
            return chr(int(code, 8))
        return _ESCAPED.get(code, code if code in "\\'\"" else match[0])

    return _ESCAPE.sub(meant, text) if "\\" in text else text


# --- numbers as people write them --------------------------------------------------------------

_NUMBER_SHAPED = re.compile(r"[+-]?[\d.,'\u2019\u00a0\u202f]*\d", re.ASCII)
_GROUP_MARKS = "'\u2019\u00a0\u202f"
_MARKS = frozenset("," + "." + _GROUP_MARKS)
_COMMA_DECIMAL = re.compile(
    r"[+-]?(?:\d+,(?!\d{3}\Z)\d+|0,\d+|\d{4,},\d+|\d{1,3}(?:\.\d{3})+,\d+|,\d+)", re.ASCII
)
_COMMA_GROUPS = re.compile(
    r"[+-]?(?:[1-9]\d{0,2}(?:,\d{3}){2,}(?:\.\d+)?|[1-9]\d{0,2}(?:,\d{3})+\.\d+)", re.ASCII
)
_COMMA_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
# Not four groups, which an address of a network has.
_POINT_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3}){2}(?:(?:\.\d{3}){2,})?", re.ASCII)
_POINT_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)


class AmbiguousNumberError(Exception):
    """'1,234' may be 1234 or 1.234, and nothing in its column tells which; the text is the cell."""


def plain_numbers(
    values: Sequence[Any], *, decimal_comma: bool | None = None
) -> tuple[list[Any], bool] | None:
    """The values with decimal commas and separators of thousands written as Python does, and
    whether a comma is the decimal mark; None if there is nothing to do, or they are no numbers.

    The values together show what a comma means; where they do not, `decimal_comma` says it. Without
    it, raises AmbiguousNumberError.
    """
    texts = [value for value in values if isinstance(value, LooseText)]
    tolerated = len(values) // 20
    misfits, has_mark = 0, False
    for text in texts:
        misfits += not _NUMBER_SHAPED.fullmatch(text)
        if misfits > tolerated:
            return None
        has_mark = has_mark or not _MARKS.isdisjoint(text)
    if not has_mark:
        return None

    def shaped(form: re.Pattern[str]) -> list[str]:
        return [text for text in texts if form.fullmatch(text)]

    is_decimal, has_groups = bool(shaped(_COMMA_DECIMAL)), bool(shaped(_COMMA_GROUPS))
    dotted = bool(shaped(_POINT_GROUPS))
    if (is_decimal or dotted) and has_groups:
        return None  # both cannot be
    if not (is_decimal or has_groups or dotted) and (either := shaped(_COMMA_EITHER)):
        if decimal_comma is None:
            raise AmbiguousNumberError(either[0])
        is_decimal = decimal_comma
    if not (is_decimal or dotted):
        return [_plain(value, ".", ",") for value in values], False
    # '0.5' beside '0,5': both are decimal marks, and '1.234' could be anything.
    points = [text for text in texts if "." in text and "," not in text]
    if dotted or len(shaped(_POINT_EITHER)) == len(points):
        return [_plain(value, ",", ".") for value in values], True
    if shaped(_POINT_EITHER):
        return None
    return [_plain(value, ",", "") for value in values], True


def _plain(value: Any, mark: str, group: str) -> Any:
    """The number with '.' as its decimal mark and without separators of thousands."""
    if not isinstance(value, LooseText) or not _NUMBER_SHAPED.fullmatch(value):
        return value
    whole, _, fraction = value.partition(mark)
    digits = re.sub(rf"(?<=\d)[{re.escape(group + _GROUP_MARKS)}](?=\d{{3}}(?!\d))", "", whole)
    return LooseText(f"{digits}.{fraction}" if fraction else digits)


def degrees(value: Any) -> Any:
    """Latitude or longitude with '.' as its decimal mark: in degrees a comma is nothing else."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,3},\d+", value.strip()):
        return value.strip().replace(",", ".")
    return value


# --- values of each type -----------------------------------------------------------------------

_TRUE, _FALSE = ("true", "yes"), ("false", "no")
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)  # 007 is a code, not a number
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_LONG_NUMBER = re.compile(r"[+-]?[1-9]\d{15,}(\.\d*)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?", re.ASCII)
_EXIF_DATE = re.compile(r"(\d{4}):(\d{2}):(\d{2}) ", re.ASCII)
_PAIR = re.compile(r"\(?\s*([-+]?\d+(?:\.\d+)?)\s*,\s*([-+]?\d+(?:\.\d+)?)\s*\)?", re.ASCII)


def loses_digits(value: Any) -> bool:
    """Whether the value is a whole number that neither a 64-bit integer nor a float can hold."""
    if isinstance(value, LooseText):
        if len(value) < 16 or not _LONG_NUMBER.fullmatch(value):
            return False
    elif isinstance(value, bool) or not isinstance(value, int | Decimal):
        return False
    return _integer(value) is None and _float(value) is None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    # In any reader: a text column of Parquet says yes and no as a cell of CSV does.
    if isinstance(value, str) and len(value) < 6 and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, LooseText) and len(value) < 21 and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    return None


def _float(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal) or (
        isinstance(value, LooseText) and _FLOAT.fullmatch(value) and _is_decimal(value)
    ):
        try:
            number = float(value)
        except OverflowError:
            return None
        if abs(number) >= _EXACT and _is_inexact(value, number):
            return None
        return number if isfinite(number) else None
    return None


def _is_inexact(value: Any, number: float) -> bool:
    """Whether a whole number written out is beyond 64 bits, or has other digits as a float."""
    if isinstance(value, float) or not isfinite(number):
        return False
    if isinstance(value, str) and ("e" in value or "E" in value):
        return False
    whole = int(Decimal(value))
    return whole != int(number) or whole not in _INT64


def _is_decimal(text: str) -> bool:
    """Not 007 and not 00.5: leading zeros belong to a code."""
    digits = text.lstrip("+-")
    return not (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit())


def _datetime(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if not isinstance(value, str):
        return None
    text = _EXIF_DATE.sub(r"\1-\2-\3 ", value.strip(), count=1)
    if not _DATE.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _geo(value: Any) -> GeoPoint | None:
    if isinstance(value, Mapping):
        parts = [
            next((value[name] for name in names if name in value), None)
            for names in (LATITUDE, LONGITUDE)
        ]
        if any(isinstance(part, bool) or not isinstance(part, int | float) for part in parts):
            return None
        value = f"{parts[0]},{parts[1]}"
    match = _PAIR.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    latitude, longitude = float(match[1]), float(match[2])
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return GeoPoint(latitude, longitude)


def _keyword(value: Any) -> str | tuple[str, ...] | None:
    if isinstance(value, str):
        return str(value).strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return None if is_infinite(value) else str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(dict.fromkeys(part.strip() for part in value if part.strip())) or None
    return None


CONVERTERS: Mapping[MetadataType, Callable[[Any], Value | None]] = {
    "boolean": _boolean,
    "integer": _integer,
    "float": _float,
    "datetime": _datetime,
    "geo": _geo,
    "keyword": _keyword,
    "text": _keyword,
}


def fitted(value: Any, type_: MetadataType) -> Value | None:
    """The value as this type, which is known: '5' of JSON and 5.0 are the integer 5, 1 is yes."""
    value = LooseText(value) if type(value) is str else value
    found = CONVERTERS[type_](value)
    if found is not None or type_ not in ("integer", "boolean"):
        return found
    number = _float(value)
    if number is None or not number.is_integer() or abs(number) > _EXACT:
        return None
    if type_ == "integer":
        return int(number)
    return bool(number) if number in (0, 1) else None
