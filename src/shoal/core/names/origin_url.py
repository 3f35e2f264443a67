"""Origins by name: which URLs may be one, and where a file is below one; pure.

An origin is a server that holds the bytes of a share as plain files: one of HTTP, or
an object store. docs/protocol.md, "Origins".
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit

from shoal.errors import UsageError

__all__ = [
    "MAX_ORIGINS",
    "MAX_ORIGIN_LENGTH",
    "file_url",
    "is_web",
    "origin_name",
    "parse_origin",
    "parse_origins",
    "quote_origin",
    "unquote_origin",
]

MAX_ORIGINS = 4  # of one share
MAX_ORIGIN_LENGTH = 1024  # characters of a URL
WEB = frozenset(("http", "https"))

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://(\S+)")


def parse_origin(text: str) -> str:
    """Return the URL of an origin as a person writes it, checked for its form.

    Raises `UsageError`, which repeats nothing of it: a URL may hold a secret.
    """
    text = text.strip()
    match = _URL.fullmatch(text)
    if match is None or not text.isprintable():
        raise UsageError(
            "An origin is a URL, as https://host/file or s3://bucket/folder/; "
            "check what follows --origin."
        )
    if len(text) > MAX_ORIGIN_LENGTH:
        raise UsageError(
            f"An origin's URL has at most {MAX_ORIGIN_LENGTH} characters; "
            "use a shorter one."
        )
    scheme = match[1].lower()
    if scheme == "shoal":
        raise UsageError("A share is no origin; give the address with --peer.")
    if not _is_right(text, scheme in WEB):
        raise UsageError(
            "The URL of an origin names a host and a file or folder there, as "
            "https://host/folder/; check what follows --origin."
        )
    return scheme + text[len(scheme) :]


def parse_origins(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return the URLs of several origins; as text, separated by spaces.

    Raises `UsageError` for what is none and for more than `MAX_ORIGINS`.
    """
    words = value.split() if isinstance(value, str) else list(value)
    if len(words) > MAX_ORIGINS:
        raise UsageError(f"There may be {MAX_ORIGINS} origins; leave some out.")
    return tuple(map(parse_origin, words))


def _is_right(text: str, is_for_web: bool) -> bool:
    try:
        split = urlsplit(text)
        is_place = bool(split.hostname) and split.port != 0 and not split.fragment
    except ValueError:
        return False
    return is_place or not is_for_web


def is_web(url: str) -> bool:
    """Say whether an origin is asked by HTTP."""
    return url.partition(":")[0] in WEB


def origin_name(url: str) -> str:
    """Return what an origin is called in messages: no path, nothing secret."""
    split = urlsplit(url)
    host = split.netloc.rpartition("@")[2]
    return f"{split.scheme}://{host}"


def quote_origin(url: str) -> str:
    """Return a URL as it stands in a link: nothing in it means anything there."""
    return quote(url, safe="")


def unquote_origin(text: str) -> str:
    """Read a URL that stands in a link; raises `UsageError`."""
    # Thrice, since each byte may be written as three characters.
    if len(text) > 3 * MAX_ORIGIN_LENGTH:
        raise UsageError("The link names an origin that is too long; leave it out.")
    try:
        return parse_origin(unquote_to_bytes(text).decode())
    except UnicodeDecodeError:
        raise UsageError("The link names an origin that is not text.") from None


def file_url(url: str, path: str, name: str) -> str:
    """Return where the file `path` of a share is, given its origin's URL.

    Below a folder's URL, each file is at its path; a single file (with an empty path)
    is what the URL names or, if that ends in a slash, the `name` in there, as BEP 19
    has it. A query stays behind the path.
    """
    split = urlsplit(url) if is_web(url) else None
    base = url if split is None else split.path or "/"
    if path and not base.endswith("/"):
        base += "/"
    inner = path or (name if base.endswith("/") else "")
    if split is None:
        return base + inner
    base += quote(inner, safe="/")
    return urlunsplit((split.scheme, split.netloc, base, split.query, ""))
