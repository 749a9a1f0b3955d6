"""Dates as people write them."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenesearch.search.dates import period

TODAY = date(2026, 11, 25)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2019", "2019-01-01", "2020-01-01"),
        ("2019-12", "2019-12-01", "2020-01-01"),
        ("2019-5-31", "2019-05-31", "2019-06-01"),
        ("20190531", "2019-05-31", "2019-06-01"),
        ("2019-W22", "2019-05-27", "2019-06-03"),
        ("2019W225", "2019-05-31", "2019-06-01"),
        ("2019-05-31T18", "2019-05-31T18:00", "2019-05-31T19:00"),
        ("2019-05-31T18:00", "2019-05-31T18:00", "2019-05-31T18:01"),
        ("2019-05-31 18:00", "2019-05-31T18:00", "2019-05-31T18:01"),
        ("20190531T180000z", "2019-05-31T18:00", "2019-05-31T18:00:01"),
        ("2019-05-31t20:00+02:00", "2019-05-31T18:00", "2019-05-31T18:01"),
        ("today", "2026-11-25", "2026-11-26"),
        ("yesterday", "2026-11-24", "2026-11-25"),
        ("this week", "2026-11-23", "2026-11-30"),
        ("last-week", "2026-11-16", "2026-11-23"),
        ("this month", "2026-11-01", "2026-12-01"),
        ("last_month", "2026-10-01", "2026-11-01"),
        ("Last Year", "2025-01-01", "2026-01-01"),
        ("last 7 days", "2026-11-19", "2026-11-26"),
        ("last-3-months", "2026-08-25", "2026-11-26"),
        ("may 2019", "2019-05-01", "2019-06-01"),
        ("Sept 2019", "2019-09-01", "2019-10-01"),
        ("2019-may-31", "2019-05-31", "2019-06-01"),
        ("2020 summer", "2020-06-01", "2020-09-01"),
        ("31-may-2019", "2019-05-31", "2019-06-01"),
        ("May 31, 2019", "2019-05-31", "2019-06-01"),
        ("summer 2020", "2020-06-01", "2020-09-01"),
        ("winter 2020", "2020-12-01", "2021-03-01"),
        ("last summer", "2026-06-01", "2026-09-01"),
        ("last winter", "2025-12-01", "2026-03-01"),
        ("this autumn", "2026-09-01", "2026-12-01"),
        ("last december", "2025-12-01", "2026-01-01"),
        ("1990s", "1990-01-01", "2000-01-01"),
    ],
)
def test_words_name_a_period(text: str, start: str, end: str) -> None:
    found = period(text, TODAY)
    assert found == tuple(datetime.fromisoformat(part).replace(tzinfo=UTC) for part in (start, end))


@pytest.mark.parametrize(
    "text", ["", "soon", "may", "smarch 2019", "2019-13", "31 june 2019", "9999", "0000", "9990s"]
)
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        period(text, TODAY)


@given(
    st.text(max_size=30) | st.from_regex(r"(last|this|)[ -](\d{1,4}|may|winter)[ -](days|\d{4})")
)
def test_any_text_is_a_period_or_refused(text: str) -> None:
    try:
        start, end = period(text, TODAY)
    except ValueError:
        return
    assert start < end
