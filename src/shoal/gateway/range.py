"""Which bytes of a file a request asks for, and whether it wants them at all.

RFC 9110: section 13 (conditions) and 14 (ranges). A file of a share never changes, so
it has a strong entity tag and no date: conditions that name a date are ignored, or
for `If-Range` not met. One range is served; who asks for several gets the whole.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

__all__ = ["Answer", "Conditions", "Span", "answer", "parse_range"]

# The one unit; names of units have no case (section 14.1).
_SPECIFIER = re.compile(r"bytes=(.*)", re.IGNORECASE | re.DOTALL)
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')
_MOST_DIGITS = 19  # of a position that a file can have
_BEYOND = 10_000_000_000_000_000_000  # every end


class Span(Struct, frozen=True):
    """Name the bytes `first` to `end - 1` of a file."""

    first: int
    end: int
    may_stop: bool = False
    """Whether a `Range` ends with the file: what players ask for, and stop anywhere."""

    @property
    def length(self) -> int:
        """Return how many bytes that are."""
        return self.end - self.first


class Conditions(Struct, frozen=True):
    """Hold what a request makes its answer depend on; each line of a header."""

    if_match: Sequence[str] = ()
    if_none_match: Sequence[str] = ()
    if_range: Sequence[str] = ()
    range: Sequence[str] = ()


class Answer(Struct, frozen=True):
    """Say how a request for a file is answered."""

    status: int
    """200, 206, 304, 412 or 416."""
    span: Span
    """The bytes to send; none with the last three."""


def answer(method: str, conditions: Conditions, size: int, tag: str) -> Answer:
    """Return the answer to a request for a file of `size` bytes with that entity tag.

    The order is that of RFC 9110 section 13.2.2.
    """
    nothing, whole = Span(0, 0), Span(0, size)
    if conditions.if_match and not _is_met(conditions.if_match, tag, strong=True):
        return Answer(412, nothing)
    if conditions.if_none_match and _is_met(conditions.if_none_match, tag):
        return Answer(304, nothing)
    # Ranges are defined for GET alone (section 14.2).
    if method != "GET" or len(conditions.range) != 1:
        return Answer(200, whole)
    if conditions.if_range and conditions.if_range != [tag]:
        return Answer(200, whole)
    span = parse_range(conditions.range[0], size)
    if span is None:
        return Answer(200, whole)
    return Answer(206, span) if span.length else Answer(416, nothing)


def parse_range(text: str, size: int) -> Span | None:
    """Return what a `Range` asks for of `size` bytes; None for the whole.

    An empty span stands for a range that is invalid or not there: 416, section
    15.5.17. Of an empty file everything is the whole, so that who asks for `0-` of
    whatever it reads gets an answer, as section 14.2 allows.
    """
    match = _SPECIFIER.fullmatch(text)
    if match is None or not size:
        return None
    # Section 5.6.1.2: a list may have empty elements.
    specs = [each for each in _COMMA.split(match[1]) if each]
    if len(specs) > 1:
        return None
    found = _SPEC.fullmatch(specs[0]) if specs else None
    if found is None:
        return Span(0, 0)
    first, last = map(_position, found.groups())
    if first is None:
        if last is None:
            return Span(0, 0)
        return Span(max(size - last, 0), size)
    if first >= size or (last is not None and last < first):
        return Span(0, 0)
    if last is None or last >= size - 1:
        return Span(first, size, may_stop=True)
    return Span(first, last + 1)


def _position(digits: str) -> int | None:
    """Return a number; one that is too large to matter as one that is large enough."""
    digits = digits.lstrip("0") or digits[:1]
    if len(digits) > _MOST_DIGITS:
        return _BEYOND
    return int(digits) if digits else None


def _is_met(lines: Sequence[str], tag: str, *, strong: bool = False) -> bool:
    """Say whether a list of entity tags names `tag`, or everything.

    The comparison is weak, or `strong` (section 8.8.3.2); a list that is malformed
    names nothing.
    """
    text = ",".join(lines).strip(" \t")
    if text == "*":
        return True
    place = 0
    is_met = False
    while place < len(text):
        if text[place] in ", \t":
            place += 1
            continue
        match = _TAG.match(text, place)
        if match is None:
            return False
        is_met = is_met or (match[2] == tag and not (strong and match[1]))
        place = match.end()
    return is_met
