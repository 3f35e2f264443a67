"""Read dates of HTTP, which the other end of a connection writes."""

from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["parse_http_date"]


def parse_http_date(text: str) -> float | None:
    """Return a date (RFC 9110 section 5.6.7) in seconds since 1970; None if invalid.

    No text raises an error: one may have a year or a time zone of any number of digits.
    """
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
