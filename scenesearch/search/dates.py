"""Dates as people write them: 2019, 2019-05-31, 'may 2019', 'summer 2020', 'last year'.

ISO's other forms are read too: 20190531, 2019-W22, 2019-05-31T18:00 (that minute).
Blanks may be written as '-' or '_', so that 'taken:last-year' needs no quotes. Seasons are the
meteorological ones of the northern hemisphere: summer is June to August, winter 2020 begins in
December 2020.
"""

import calendar
import re
from datetime import UTC, date, datetime, timedelta

_ISO = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")
_WEEK = re.compile(r"\d{4}-?W\d{2}")
_MOMENT = re.compile(r"[\dW-]+(?:[T ](\d{2})(?::?(\d{2}))?(?::?(\d{2}))?.*)?")
_ZONED = re.compile(r"\d[T ]\d\d[\d:.]*(?:Z|[+-]\d\d(?::?\d\d)?)(?=$|\.\.)", re.IGNORECASE)
_LENGTH_OF = (  # of the period that a moment names, by how many numbers its time has
    timedelta(days=1),
    timedelta(hours=1),
    timedelta(minutes=1),
    timedelta(seconds=1),
)
_DECADE = re.compile(r"(\d{3}0)s")
_LAST_DAYS = re.compile(r"last ([1-9]\d{0,3}) (day|week|month|year)s?")
_DAYS_OF = {"day": 1, "week": 7}
_MONTHS = {
    name.lower(): number
    for names in (calendar.month_name, calendar.month_abbr)
    for number, name in enumerate(names)
    if name
} | {"sept": 9}
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}  # first month


def names_zone(text: str) -> bool:
    """Whether a value with a time, or an end of 'a..b', says its time zone: '…T18:00+02:00'."""
    return _ZONED.search(text) is not None


def period(text: str, today: date) -> tuple[datetime, datetime]:
    """The first moment of the period that the text names, and the first one after it, in UTC.

    'yesterday' and 'last summer' count from `today`. Raises ValueError.
    """
    try:
        return _period(text.strip(), today)
    except OverflowError:
        raise ValueError(f"{text!r} is out of the calendar") from None


def _period(text: str, today: date) -> tuple[datetime, datetime]:
    if iso := _ISO.fullmatch(text):
        year, month, day = (int(part) if part else None for part in iso.groups())
        return _of(year or 0, month, day)
    words = " ".join(re.split(r"[\s_,-]+", text.lower()))
    if words in ("today", "yesterday"):
        day_of = today - timedelta(days=words == "yesterday")
        return _of(day_of.year, day_of.month, day_of.day)
    if decade := _DECADE.fullmatch(words):
        first = int(decade[1])
        return _of(first)[0], _of(first + 9)[1]
    if counted := _LAST_DAYS.fullmatch(words):
        return _back(today, int(counted[1]), counted[2]), _midnight(today + timedelta(days=1))
    if words.startswith(("this ", "last ")):
        which, _, unit = words.partition(" ")
        return _relative(which == "last", unit, today)
    *before, last = words.split() or [""]
    if re.fullmatch(r"\d{4}", last) and before:
        return _named(before, int(last))
    if before and re.fullmatch(r"\d{4}", before[0]):
        named = [*before[1:], last]
        if named[0] in _MONTHS or named[0] in _SEASONS:
            return _named(named, int(before[0]))
    return _moment(text.upper())


def _moment(text: str) -> tuple[datetime, datetime]:
    """Other forms of ISO 8601. The last number gives the length: a second, an hour, a week."""
    written = _MOMENT.fullmatch(text)
    if written is None:
        raise ValueError(f"{text} is no date")
    start = datetime.fromisoformat(text)
    start = start if start.tzinfo else start.replace(tzinfo=UTC)
    if _WEEK.fullmatch(text):
        return start, start + timedelta(days=7)
    numbers = [number for number in written.groups() if number]
    return start, start + _LENGTH_OF[len(numbers)]


def _named(words: list[str], year: int) -> tuple[datetime, datetime]:
    """'may' 2019, '31 may' 2019, 'may 31' 2019, 'summer' 2019."""
    match words:
        case [name] if name in _SEASONS:
            first = _SEASONS[name]
            end = (year + 1, 3) if first == 12 else (year, first + 3)
            return _of(year, first)[0], _of(*end)[0]
        case [name] if name in _MONTHS:
            return _of(year, _MONTHS[name])
        case [day, name] if name in _MONTHS and re.fullmatch(r"\d{1,2}", day):
            return _of(year, _MONTHS[name], int(day))
        case [name, day] if name in _MONTHS and re.fullmatch(r"\d{1,2}", day):
            return _of(year, _MONTHS[name], int(day))
    raise ValueError(f"{' '.join(words)} {year} is no date")


def _relative(last: bool, unit: str, today: date) -> tuple[datetime, datetime]:
    """The period of this kind that today lies in, or with `last` the latest that is over."""
    if unit == "week":
        monday = today - timedelta(days=today.weekday() + 7 * last)
        return _midnight(monday), _midnight(monday + timedelta(days=7))
    if unit == "month":
        first = today.replace(day=1)
        first = (first - timedelta(days=1)).replace(day=1) if last else first
        return _of(first.year, first.month)
    if unit == "year":
        return _of(today.year - last)
    if unit not in _SEASONS and unit not in _MONTHS:
        raise ValueError(f"{unit} is no period")
    years = range(today.year, today.year - 3, -1)
    candidates = [_named([unit], year) for year in years]
    if not last:
        held = [found for found in candidates if found[0] <= _midnight(today) < found[1]]
        return held[0] if held else candidates[0]
    return next(found for found in candidates if found[1] <= _midnight(today))


def _back(today: date, count: int, unit: str) -> datetime:
    if unit in _DAYS_OF:
        return _midnight(today - timedelta(days=count * _DAYS_OF[unit] - 1))
    months = today.year * 12 + today.month - 1 - count * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    if year < 1:
        raise ValueError("before the calendar")
    day = min(today.day, calendar.monthrange(year, month + 1)[1])
    return _of(year, month + 1, day)[0]


def _of(year: int, month: int | None = None, day: int | None = None) -> tuple[datetime, datetime]:
    start = datetime(year, month or 1, day or 1, tzinfo=UTC)
    if day:
        return start, start + timedelta(days=1)
    if month:
        return start, start.replace(year=start.year + month // 12, month=month % 12 + 1)
    return start, start.replace(year=start.year + 1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
