"""The path of a request, taken apart strictly.

What could mean two things to two programs means nothing here: no `..`, no `//`, no
backslash, no control character, encoded or not, and no slash that is encoded. Files
of a share have no such names (`core.paths`).
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

__all__ = ["Target", "parse_target", "quoted"]

MAX_PATH = 8 * 1024  # characters, as they are sent
_ABSOLUTE = re.compile(r"http://([^/?#]*)(/.*)?", re.IGNORECASE | re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BAD_CHARACTER = re.compile(r"[\x00-\x20\x7f\\/]")


class Target(Struct, frozen=True):
    """Say what a request is about."""

    names: tuple[str, ...]
    """The path, decoded; the last one is empty where it ends in a slash."""
    authority: str | None = None
    """The host, where the request names it in this place, too."""


def parse_target(text: str) -> Target:
    """Read the target of a GET or HEAD, RFC 9112 sections 3.2.1 and 3.2.2.

    Raises `ValueError` for what is none, or is not meant honestly.
    """
    if len(text) > MAX_PATH:
        raise ValueError("it is too long")
    authority = None
    match = _ABSOLUTE.fullmatch(text)
    if match is not None:
        authority, text = match[1], match[2] or "/"
    path = text.partition("?")[0]
    if not path.startswith("/") or "#" in text or _BAD_ESCAPE.search(path):
        raise ValueError("it is no path")
    return Target(tuple(_names(path[1:].split("/"))), authority)


def _names(parts: list[str]) -> Iterable[str]:
    for number, part in enumerate(parts, 1):
        try:
            name = unquote_to_bytes(part).decode()
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8") from None
        is_last = number == len(parts)
        if name in (".", "..") or (not name and not is_last):
            raise ValueError("it goes in circles")
        # A space is part of many a name, but only encoded.
        if _BAD_CHARACTER.search(name.replace(" ", "")) or " " in part:
            raise ValueError("it has a character that no name has")
        yield name


def quoted(path: str) -> str:
    """Return a path of a share as it stands in a URL."""
    return quote(path, safe="/")
