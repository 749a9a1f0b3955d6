"""What a picture is called before people."""

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

# Named by a program: a hash, a UUID, a long number, letters and digits at random. 'IMG_1234' is a
# name that people know from their camera.
_NO_NAME = re.compile(
    r"(?=.*\d)[0-9a-f]{12,}"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\d{6,}([_-][0-9a-f]{8,})?([_-][a-z])?"
    r"|(?=.*\d)(?=.*[a-z])[a-z0-9]{20,}",
    re.IGNORECASE,
)

# Named by a moment, which reads better as a date where that is known.
_MOMENT = re.compile(r"([a-z]{2,4}[_-]?)?\d{8}[_-]\d{4,}([_.-].*)?", re.IGNORECASE)

# A date that stands for more than two days is that of a month or a year.
_MOST_OF_A_DAY = timedelta(days=2)
_MOST_OF_A_MONTH = timedelta(days=32)


def title_of(image_id: str, payload: Mapping[str, Any]) -> str:
    """The picture's first caption, else its title, else its file name; where that is a hash or a
    number, the day on which it was taken."""
    captions = payload.get("captions") or ()
    texts = (*captions, str(payload.get("title") or ""))
    if text := next((text for text in texts if text.strip()), ""):
        return text
    path = PurePosixPath(image_id)
    is_moment, has_none = _MOMENT.fullmatch(path.stem), _NO_NAME.fullmatch(path.stem)
    if (is_moment or has_none) and (when := written_date(payload)):
        return f"Photograph of {when}"
    return "Photograph without a name" if has_none and not is_moment else path.name


def written_date(payload: Mapping[str, Any]) -> str:
    """When it was taken, as '12 July 2019', or 'July 2019' and '2019' where no more is known; ''
    where nothing is."""
    taken = _moment(payload.get("taken"))
    if taken is None:
        return ""
    until = _moment(payload.get("taken_until"))
    period = until - taken if until is not None else timedelta()
    if period > _MOST_OF_A_MONTH:
        return f"{taken.year}"
    return f"{taken:%B} {taken.year}" if period > _MOST_OF_A_DAY else written_day(taken)


def written_day(at: date) -> str:
    """12 July 2019"""
    return f"{at.day} {at:%B} {at.year}"


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value)).replace(tzinfo=None)
    except ValueError:
        return None
