"""Dates of HTTP."""

import pytest

from shoal.net.http_date import parse_http_date


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Thu, 01 Jan 1970 00:00:10 GMT", 10.0),
        ("Thu, 01 Jan 1970 01:00:10 +0100", 10.0),
        ("Thu, 01 Jan 1970 00:00:10 -0000", 10.0),
    ],
)
def test_a_date_is_read_in_its_time_zone(text: str, seconds: float) -> None:
    assert parse_http_date(text) == seconds


NINES = "9" * 20


@pytest.mark.parametrize(
    "text",
    [
        *("", "never", "Thu, 01 Jan", "Thu, 32 Jan 1970 00:00:10 GMT"),
        f"Thu, 01 Jan {NINES} 00:00:10 GMT",
        f"Thu, {NINES} Jan 1970 00:00:10 GMT",
        f"Thu, 01 Jan 1970 {NINES}:00:10 GMT",
        f"Thu, 01 Jan 1970 00:00:10 +{NINES}",
        f"Thu, 01 Jan {'9' * 5000} 00:00:10 GMT",
    ],
)
def test_what_is_no_date_raises_no_error(text: str) -> None:
    assert parse_http_date(text) is None
