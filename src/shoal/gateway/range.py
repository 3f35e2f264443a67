"""Decide which bytes of a file a request gets, and with which status.

RFC 9110, sections 13 (conditional requests) and 14 (ranges). A file of a share never
changes, so it has a strong entity tag. Its date is when the gateway first knew the
share; an `If-Range` with a date does not match, because the tag is what identifies the
bytes. One range is served; a request for several ranges gets the whole file, as section
14.2 permits.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

__all__ = ["ByteRange", "Preconditions", "ResponsePlan", "parse_range", "plan_response"]

# "bytes" is the only unit; its name is case-insensitive (section 14.1).
_SPECIFIER = re.compile(r"bytes=(.*)", re.IGNORECASE | re.DOTALL)
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')
_MAX_DIGITS = 19  # of a position within a file
_BEYOND = 10_000_000_000_000_000_000  # a position after the end of any file


class ByteRange(Struct, frozen=True):
    """Name the bytes `first` to `end - 1` of a file."""

    first: int
    end: int
    is_open_ended: bool = False
    """True if a `Range` has no end; players send these and stop reading anywhere."""

    @property
    def length(self) -> int:
        """Return the number of bytes."""
        return self.end - self.first


class Preconditions(Struct, frozen=True):
    """Hold the request headers that select the response, one string per line."""

    if_match: Sequence[str] = ()
    if_none_match: Sequence[str] = ()
    if_range: Sequence[str] = ()
    range: Sequence[str] = ()
    if_modified_since: float | None = None
    """Seconds since 1970; None without this header, or with an invalid one."""
    if_unmodified_since: float | None = None
    """As `if_modified_since`."""


class ResponsePlan(Struct, frozen=True):
    """Hold the status of a response and the bytes that it carries."""

    status: int
    """200, 206, 304, 412 or 416."""
    range: ByteRange
    """The bytes to send; empty for 304, 412 and 416."""


def plan_response(
    method: str, conditions: Preconditions, size: int, tag: str, date: int
) -> ResponsePlan:
    """Plan the response to a request for a file of `size` bytes with entity tag `tag`.

    `date` is when it changed last, in seconds since 1970. The preconditions are
    evaluated in the order of RFC 9110 section 13.2.2.
    """
    nothing, whole = ByteRange(0, 0), ByteRange(0, size)
    until, since = conditions.if_unmodified_since, conditions.if_modified_since
    if conditions.if_match:
        if not _matches(conditions.if_match, tag, strong=True):
            return ResponsePlan(412, nothing)
    elif until is not None and date > until:
        return ResponsePlan(412, nothing)
    if conditions.if_none_match:
        if _matches(conditions.if_none_match, tag):
            return ResponsePlan(304, nothing)
    elif since is not None and date <= since:
        return ResponsePlan(304, nothing)
    # Ranges are defined for GET only (section 14.2).
    if method != "GET" or len(conditions.range) != 1:
        return ResponsePlan(200, whole)
    if conditions.if_range and conditions.if_range != [tag]:
        return ResponsePlan(200, whole)
    found = parse_range(conditions.range[0], size)
    if found is None:
        return ResponsePlan(200, whole)
    return ResponsePlan(206, found) if found.length else ResponsePlan(416, nothing)


def parse_range(text: str, size: int) -> ByteRange | None:
    """Return the bytes that a `Range` names of a file of `size` bytes.

    None stands for the whole file. An empty range stands for one that is invalid or
    not satisfiable: status 416, section 15.5.17. Any range of an empty file is the
    whole file, as section 14.2 allows, so that a client that always asks for `0-` gets
    a response.
    """
    match = _SPECIFIER.fullmatch(text)
    if match is None or not size:
        return None
    # A list may have empty elements (section 5.6.1.2).
    specs = [each for each in _COMMA.split(match[1]) if each]
    if len(specs) > 1:
        return None
    found = _SPEC.fullmatch(specs[0]) if specs else None
    if found is None:
        return ByteRange(0, 0)
    first, last = map(_position, found.groups())
    if first is None:
        if last is None:
            return ByteRange(0, 0)
        return ByteRange(max(size - last, 0), size)
    if first >= size or (last is not None and last < first):
        return ByteRange(0, 0)
    if last is None or last >= size - 1:
        return ByteRange(first, size, is_open_ended=True)
    return ByteRange(first, last + 1)


def _position(digits: str) -> int | None:
    """Return a position; None for no digits. Huge numbers are capped, not parsed."""
    digits = digits.lstrip("0") or digits[:1]
    if len(digits) > _MAX_DIGITS:
        return _BEYOND
    return int(digits) if digits else None


def _matches(lines: Sequence[str], tag: str, *, strong: bool = False) -> bool:
    """Return True if a list of entity tags contains `tag` or is `*`.

    The comparison is weak unless `strong` (section 8.8.3.2). A malformed list matches
    nothing.
    """
    text = ",".join(lines).strip(" \t")
    if text == "*":
        return True
    position, is_found = 0, False
    while position < len(text):
        if text[position] in ", \t":
            position += 1
            continue
        match = _TAG.match(text, position)
        if match is None:
            return False
        is_found = is_found or (match[2] == tag and not (strong and match[1]))
        position = match.end()
    return is_found
