"""Parse a request's path strictly, and quote paths for URLs.

A path that two programs could interpret differently is refused: `..`, `//`, a
backslash, or a control character, encoded or not, and an encoded slash. No file of a
share has such a name (`core.manifest.paths`).
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web
from msgspec import Struct

__all__ = ["RequestTarget", "names_of", "parse_target", "quoted"]

MAX_PATH = 8 * 1024  # characters, before decoding
_ABSOLUTE = re.compile(r"http://([^/?#]*)(/.*)?", re.IGNORECASE | re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BAD_CHARACTER = re.compile(r"[\x00-\x20\x7f\\/]")


class RequestTarget(Struct, frozen=True):
    """Hold the parts of a request target."""

    names: tuple[str, ...]
    """The segments of the path, decoded; the last one is empty after a final slash."""
    authority: str | None = None
    """The host of a target in absolute form; None for a plain path."""


def parse_target(text: str) -> RequestTarget:
    """Parse the target of a GET or HEAD request, RFC 9112 sections 3.2.1 and 3.2.2.

    Raises `ValueError` for a malformed or ambiguous target.
    """
    if len(text) > MAX_PATH:
        raise ValueError("it is too long")
    authority = None
    match = _ABSOLUTE.fullmatch(text)
    if match is not None:
        authority, text = match[1], match[2] or "/"
    path = text.partition("?")[0]
    if not path.startswith("/") or "#" in text or _BAD_ESCAPE.search(path):
        raise ValueError("it is malformed")
    return RequestTarget(tuple(_decode(path[1:].split("/"))), authority)


def _decode(segments: list[str]) -> Iterable[str]:
    for number, segment in enumerate(segments, 1):
        try:
            name = unquote_to_bytes(segment).decode()
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8") from None
        is_last = number == len(segments)
        if name in (".", "..") or (not name and not is_last):
            raise ValueError("it has an empty or relative segment")
        # A name may contain spaces, but a path has them only in encoded form.
        if _BAD_CHARACTER.search(name.replace(" ", "")) or " " in segment:
            raise ValueError("it has a character that no file name has")
        yield name


def names_of(request: web.Request) -> tuple[str, ...]:
    """Return the segments of a request's path after the token, decoded.

    The last one is empty if the path ends in a slash.
    """
    return parse_target(request.raw_path).names[1:]


def quoted(path: str) -> str:
    """Return a path within a share as it is written in a URL."""
    return quote(path, safe="/")
