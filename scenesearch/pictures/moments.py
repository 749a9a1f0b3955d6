"""When a picture was taken, as cameras, programs and people write it.

What counts is the wall time where it was taken. A time zone, where it is written, is kept beside
it. A date without a time, a month or a year is a period and stays one.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

_WRITTEN = re.compile(
    r"(?P<year>\d{4})"
    r"(?:(?P<separator>[-:/.])\s?(?P<month>\d{1,2})?(?:[-:/.]\s?(?P<day>\d{1,2})?)?)?"
    r"(?:[T\s]+(?P<hour>\d{1,2})[:.](?P<minute>\d{1,2})(?:[:.](?P<second>\d{1,2})(?:[.,]\d*)?)?)?"
    r"\s?(?P<zone>Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?",
    re.IGNORECASE | re.ASCII,
)
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:[T\s]?(\d\d)(\d\d)(\d\d)?)?(.*)", re.ASCII)
_ZONE = re.compile(r"([+-])(\d{1,2})(?::?(\d{2}))?", re.ASCII)


@dataclass(frozen=True)
class Moment:
    """A wall time, or with `until`, the first moment after it, a period.

    `zone` is that of the clock, None if it was not recorded; `why` says how something odd was
    understood.
    """

    start: datetime
    until: datetime | None = None
    zone: timezone | None = None
    why: str = ""

    def __str__(self) -> str:
        if self.until is not None:
            return shown_period(self.start, self.until)
        return self.aware().isoformat(" ")

    def aware(self) -> datetime:
        """The start with the zone, where there is one."""
        return self.start.replace(tzinfo=self.zone)


def read_moment(text: str, zone: str | None = None) -> Moment | None:
    """The moment that the text names; None where a clock was not set; raises ValueError.

    `zone` is an offset that is recorded elsewhere, for a text without its own.
    """
    if re.fullmatch(r"[0\s:/.-]*", text) or text.startswith("0000"):
        return None  # cameras write zeros or blanks until their clock is set
    text = re.sub(r"[\s:]+$", "", text.strip())  # blanks stand for parts that are not known
    if compact := _COMPACT.fullmatch(text):
        year, month, day, hour, minute, second, rest = compact.groups()
        time = f" {hour}:{minute}:{second or '00'}" if hour else ""
        text = f"{year}-{month}-{day}{time}{rest}"
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise ValueError(f"{text!r} is no date")
    try:
        moment = _moment(written)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no date") from None
    return replace(moment, zone=read_zone(written["zone"] or zone))


def read_zone(text: str | None) -> timezone | None:
    """The zone of '+02:00', '+0200', '+02' or 'Z'; None for anything else."""
    if not text:
        return None
    if text.upper() in ("Z", "UTC", "GMT"):
        return UTC
    match = _ZONE.fullmatch(text)
    if match is None or int(match[2]) > 14 or int(match[3] or 0) > 59:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    return timezone(offset if match[1] == "+" else -offset)


def shown_period(start: datetime, until: datetime) -> str:
    """The period as it is written: '1978', '1978-06', '1978-06-01'."""
    if until - start <= timedelta(days=1):
        return start.date().isoformat()
    return f"{start:%Y-%m}" if until - start <= timedelta(days=31) else f"{start:%Y}"


def _moment(written: re.Match[str]) -> Moment:
    year, month, day = (int(written[part] or 0) for part in ("year", "month", "day"))
    if not month:
        return Moment(datetime(year, 1, 1), _first_of(year + 1))
    if not day:
        after = _first_of(year + month // 12, month % 12 + 1)
        return Moment(datetime(year, month, 1), after)
    date = datetime(year, month, day)
    if written["hour"] is None:
        return Moment(date, date + timedelta(days=1))
    hour, minute, second = (int(written[part] or 0) for part in ("hour", "minute", "second"))
    second = min(second, 59) if second == 60 else second  # a leap second
    if hour == 24 and not (minute or second):
        return Moment(date + timedelta(days=1))
    if hour == 24:
        # Some phones write the first hour of the day so.
        why = f"the time 24:{minute:02} was read as 00:{minute:02} of the same day"
        return Moment(date.replace(minute=minute, second=second), why=why)
    return Moment(date.replace(hour=hour, minute=minute, second=second))


def _first_of(year: int, month: int = 1) -> datetime:
    return datetime(year, month, 1)


# --- dates in names of files -------------------------------------------------------------------

_DAY = r"(?P<year>19[5-9]\d|20\d\d){0}(?P<month>0[1-9]|1[0-2]){0}(?P<day>0[1-9]|[12]\d|3[01])"
_TIME = r"(?P<hour>[01]\d|2[0-3]){0}(?P<minute>[0-5]\d){0}(?P<second>[0-5]\d)"
_NAMES = tuple(
    re.compile(rf"(?<!\d)(?:{pattern})", re.IGNORECASE | re.ASCII)
    for pattern in (
        # 20190704_183005 of phones, 2019-07-04 18.30.05, Screenshot_2019-07-04-18-30-05-123
        _DAY.format("") + r"[-_ T]?" + _TIME.format("") + r"(?:\d{3})?(?!\d)",
        _DAY.format(r"[-_.]")
        + r"(?:[-_ T]|,? at |_at_)"
        + _TIME.format(r"[-_.:h]")
        + r"(?:[-_.]?\d{3})?(?!\d)(?:[ _\u202f]?(?P<half>[ap]m)\b)?",
        # WhatsApp Image 2019-07-04 at 6.30.05 PM
        _DAY.format(r"-")
        + r" at (?P<hour>\d{1,2})[.:](?P<minute>[0-5]\d)[.:](?P<second>[0-5]\d)"
        + r"[ _\u202f]?(?P<half>[ap]m)\b",
        _DAY.format(r"-") + r"-(?P<hour>[01]\d|2[0-3])(?P<minute>[0-5]\d)(?P<second>[0-5]\d)(?!\d)",
        # IMG-20190704-WA0001 of WhatsApp
        _DAY.format("") + r"-WA\d+",
    )
)
# A day alone says little, unless the name says what it is, or begins with it.
_DAY_NAMES = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        r"(?:IMG|VID|PANO|DSC|PXL|MVIMG|BURST|photo|screenshot|signal|scan)[-_ ]?(?:from )?"
        + _DAY.format(r"[-_.]?")
        + r"(?!\d)",
        _DAY.format("-") + r"(?!\d)",
    )
)
_EPOCH = re.compile(r"(?:FB_IMG_|mmexport|wx_camera_)(?P<ms>1\d{12})(?!\d)", re.IGNORECASE)


def moment_in_name(name: str) -> Moment | None:
    """The date in the name that a phone, a messenger or a screenshot gave to a file."""
    if epoch := _EPOCH.match(name):
        moment = datetime.fromtimestamp(int(epoch["ms"]) // 1000, UTC)
        return Moment(moment.replace(tzinfo=None), zone=UTC)
    found = next((match for one in _NAMES if (match := one.search(name))), None)
    found = found or next((match for one in _DAY_NAMES if (match := one.match(name))), None)
    if found is None:
        return None
    parts = found.groupdict()
    try:
        day = datetime(int(parts["year"]), int(parts["month"]), int(parts["day"]))
    except ValueError:  # 31 February
        return None
    if not parts.get("hour"):
        return Moment(day, day + timedelta(days=1))
    hour = int(parts["hour"])
    if half := (parts.get("half") or "").lower():
        hour = hour % 12 + 12 * (half == "pm")
    start = day.replace(hour=hour, minute=int(parts["minute"]), second=int(parts["second"]))
    # Pixel phones write universal time into names.
    return Moment(start, zone=UTC if name.upper().startswith("PXL_") else None)
