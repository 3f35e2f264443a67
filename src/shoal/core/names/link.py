"""Links: what people pass on to give others a sealed share.

A link is `shoal:`, then 56 base32 characters: the id and a check, so that a typing
error is told from a share that nobody has. After it may stand up to eight
`peer=HOST:PORT` that are worth trying first, and up to four `origin=URL` that have the
same bytes. docs/protocol.md, "Link, root record and manifest".

Whoever knows the id has the share. So the text of a link is made by `str()` only:
`repr()` gives the name used in logs, and no error message repeats what was typed.
"""

import base64
import re

from msgspec import Struct

from shoal.core.crypto.hashes import CHECK_SIZE, DIGEST_SIZE, link_check
from shoal.core.crypto.keys import Keys, derive_keys
from shoal.core.names.address import Address, parse_address
from shoal.core.names.channel_id import Channel, looks_like_link, parse_channel
from shoal.core.names.origin_url import MAX_ORIGINS, quote_origin, unquote_origin
from shoal.errors import UsageError

__all__ = ["MAX_HINTS", "Link", "parse_link", "parse_share"]

MAX_HINTS = 8  # addresses in one link
LENGTH = 56  # characters of base32: exactly the id and its check
_SCHEME = "shoal:"
_HINT = "peer="
_ORIGIN = "origin="
_TOO_MANY = (
    f"A link names at most {MAX_HINTS} peers and {MAX_ORIGINS} origins; leave some out."
)
# ASCII alone: Python's upper() would turn other letters into base32.
_BASE32 = re.compile(r"[A-Za-z2-7]*")


class Link(Struct, frozen=True):
    """Name a sealed share, and perhaps peers that have it."""

    id: bytes
    """32 bytes; to be shown to nobody who does not have the link."""
    hints: tuple[Address, ...] = ()
    """Addresses to try first; claims of whoever passed the link on."""
    origins: tuple[str, ...] = ()
    """URLs of servers that have the same bytes; claims as well."""

    def __str__(self) -> str:
        text = base64.b32encode(self.id + link_check(self.id)).decode().lower()
        hints = [f"{_HINT}{address}" for address in self.hints]
        hints += [_ORIGIN + quote_origin(url) for url in self.origins]
        return f"{_SCHEME}{text}?{'&'.join(hints)}" if hints else _SCHEME + text

    def __repr__(self) -> str:
        return f"<Link {self.keys.log_name}>"

    @property
    def keys(self) -> Keys:
        """Return what is derived from the id."""
        return derive_keys(self.id)

    @property
    def identity(self) -> bytes:
        """Return 32 bytes that tell this share from all others and may be seen."""
        return self.keys.log


def parse_share(text: str) -> Link | Channel:
    """Read the name of a share as a person passes it on.

    What has the form of a link is a link or refused, never a channel: so nobody is
    talked down from verified to unverified. Raises `UsageError`.
    """
    if looks_like_link(text.strip()):
        return parse_link(text)
    return parse_channel(text)


def parse_link(text: str) -> Link:
    """Read a link, with or without its `shoal:`, as in `shoal.parse_link(text)`.

    Raises `UsageError` that tells a typing error from what is no link at all.
    """
    text = text.strip()
    if text[: len(_SCHEME)].lower() == _SCHEME:
        text = text[len(_SCHEME) :]
    encoded, mark, query = text.partition("?")
    share_id = _parse_id(encoded)
    return Link(share_id, *_parse_hints(query)) if mark else Link(share_id)


def _parse_id(encoded: str) -> bytes:
    if not _BASE32.fullmatch(encoded):
        raise UsageError(
            "This is not a link: after `shoal:` stand only letters and the digits "
            "2 to 7. Copy it again from where it was passed on."
        )
    if len(encoded) != LENGTH:
        problem = "cut short" if len(encoded) < LENGTH else "more than a link"
        raise UsageError(
            f"This link was mistyped or is {problem}: it has {len(encoded)} "
            f"characters after `shoal:` instead of {LENGTH}. Copy all of it again."
        )
    decoded = base64.b32decode(encoded.upper())
    share_id, check = decoded[:DIGEST_SIZE], decoded[-CHECK_SIZE:]
    if check != link_check(share_id):
        raise UsageError(
            "This link was mistyped: its last characters do not agree with the rest. "
            "Copy it again from where it was passed on."
        )
    return share_id


def _parse_hints(query: str) -> tuple[tuple[Address, ...], tuple[str, ...]]:
    # Counted before anything is made of it.
    if query.count("&") >= MAX_HINTS + MAX_ORIGINS:
        raise UsageError(_TOO_MANY)
    hints = query.split("&")
    if not all(hint.startswith((_HINT, _ORIGIN)) for hint in hints):
        raise UsageError(
            "After the `?` of a link stand peer=HOST:PORT and origin=URL and nothing "
            "else; check the end of the link."
        )
    peers = [hint.removeprefix(_HINT) for hint in hints if hint.startswith(_HINT)]
    urls = [hint.removeprefix(_ORIGIN) for hint in hints if hint.startswith(_ORIGIN)]
    if len(peers) > MAX_HINTS or len(urls) > MAX_ORIGINS:
        raise UsageError(_TOO_MANY)
    return tuple(map(parse_address, peers)), tuple(map(unquote_origin, urls))
