"""Check the URLs of origins, and find a file's URL below one; pure.

An origin is a server that has the bytes of a share as plain files: a web server or an
object store. docs/protocol.md, "Origins".
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit

from shoal.errors import UsageError, option

__all__ = [
    "MAX_ORIGINS",
    "MAX_ORIGIN_LENGTH",
    "file_url",
    "is_web",
    "origin_name",
    "parse_origin",
    "parse_origins",
    "quote_origin",
    "split_origins",
    "unquote_origin",
]

MAX_ORIGINS = 4  # of one share
MAX_ORIGIN_LENGTH = 1024  # characters of a URL
WEB = frozenset(("http", "https"))

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://(\S.*)")
_BETWEEN = re.compile(r"\s+(?=[A-Za-z][A-Za-z0-9+.-]*://)")
# WebDAV is HTTP, as far as reading goes.
_DAV = {"dav": "http", "davs": "https", "webdav": "http", "webdavs": "https"}
# What a path may contain as it is (RFC 3986 section 3.3). Some servers find no file if
# more than that is encoded.
_IN_PATH = "/!$&'()*+,;=:@~"
_IN_QUERY = _IN_PATH + "?%"


def parse_origin(text: str) -> str:
    """Return the URL of an origin, after checking its form.

    Raises `UsageError`, which does not repeat the URL, because it may have a secret.
    """
    text = text.strip()
    match = _URL.fullmatch(text)
    if match is None or not text.isprintable():
        raise UsageError(
            "An origin is a URL such as https://host/file or s3://bucket/folder/; "
            f"check the value of {option('--origin')}."
        )
    if len(text) > MAX_ORIGIN_LENGTH:
        raise UsageError(
            f"An origin's URL has at most {MAX_ORIGIN_LENGTH} characters; "
            "use a shorter one."
        )
    scheme = given = match[1].lower()
    scheme = _DAV.get(scheme, scheme)
    if scheme == "shoal":
        raise UsageError(
            "A share is not an origin; name the address of a peer with "
            f"{option('--peer')}."
        )
    if not _is_valid(text, scheme in WEB):
        raise UsageError(
            "The URL of an origin names a host and a file or folder there, such as "
            f"https://host/folder/; check the value of {option('--origin')}."
        )
    return scheme + text[len(given) :]


def split_origins(text: str) -> list[str]:
    """Return the URLs in a text, separated by spaces; keys in S3 may contain some."""
    return _BETWEEN.split(text.strip()) if text.strip() else []


def parse_origins(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return the URLs of several origins; a text has them separated by spaces.

    Raises `UsageError` for an invalid URL and for more than `MAX_ORIGINS`.
    """
    words = split_origins(value) if isinstance(value, str) else list(value)
    if len(words) > MAX_ORIGINS:
        raise UsageError(f"There may be at most {MAX_ORIGINS} origins; remove some.")
    return tuple(map(parse_origin, words))


def _is_valid(text: str, is_for_web: bool) -> bool:
    try:
        split = urlsplit(text)
        has_host = bool(split.hostname) and not any(map(str.isspace, split.netloc))
        has_host &= split.port != 0 and not split.fragment
    except ValueError:
        return False
    return has_host or not is_for_web


def is_web(url: str) -> bool:
    """Return True if an origin is a web server."""
    return url.partition(":")[0] in WEB


def origin_name(url: str) -> str:
    """Return the name of an origin for messages: no path, no secret."""
    split = urlsplit(url)
    host = split.netloc.rpartition("@")[2]
    return f"{split.scheme}://{host}"


def quote_origin(url: str) -> str:
    """Return a URL, percent-encoded for a link."""
    quoted = quote(url, safe="").replace("~", "%7E")
    # A full stop at the end of a link would be taken for that of a sentence.
    return quoted[:-1] + "%2E" if quoted.endswith(".") else quoted


def unquote_origin(text: str) -> str:
    """Return the URL of an origin in a link; raises `UsageError`."""
    # Each byte may be encoded as three characters.
    if len(text) > 3 * MAX_ORIGIN_LENGTH:
        raise UsageError("The link names an origin whose URL is too long; remove it.")
    try:
        return parse_origin(unquote_to_bytes(text).decode())
    except UnicodeDecodeError:
        raise UsageError(
            "The link names an origin that is not text; remove it."
        ) from None


def file_url(url: str, path: str, name: str, *, plus: str = "+") -> str:
    """Return the URL of the file `path` of a share, given its origin's URL.

    The files of a folder are at their paths below the URL. A single file, with an empty
    path, is at the URL itself or, if that ends in a slash, at `name` below it, as in
    BEP 19. A query of the URL follows the path. What a URL of a web server may not
    contain is percent-encoded, and plus signs are written as `plus`.
    """
    split = urlsplit(url) if is_web(url) else None
    base = url if split is None else split.path or "/"
    if path and not base.endswith("/"):
        base += "/"
    inner = path or (name if base.endswith("/") else "")
    if split is None:
        return base + inner
    inner = quote(inner, safe=_IN_PATH).replace("+", plus)
    path = quote(base, safe=_IN_PATH + "%") + inner
    query = quote(split.query, safe=_IN_QUERY)
    return urlunsplit((split.scheme, split.netloc, path, query, ""))
