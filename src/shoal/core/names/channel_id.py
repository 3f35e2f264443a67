"""What people pass on to name an open channel, and what can only be a link.

A *hash channel* is named by 64 hex digits that commit to every chunk; nothing is
believed of it that does not verify. A *named channel* is named by anything else,
and nothing of it can be verified. The two cannot be mistaken for one another, so
nobody can be talked down from verified to unverified. For the same reason what
looks like a link is never a channel; links are read in `sealed_link`.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from shoal.errors import UsageError

__all__ = [
    "MAX_NAME_SIZE",
    "Channel",
    "check_name",
    "hash_channel",
    "looks_like_link",
    "parse_channel",
]

MAX_NAME_SIZE = 1024  # bytes of UTF-8
_HEX_ID = r"[0-9a-fA-F]{64}"
# Without its `shoal:` a link may still have its hints.
_LINK = re.compile(r"(?:[Ss][Hh][Oo][Aa][Ll]:.*|[a-zA-Z2-7]{56}(?:\?.*)?)", re.DOTALL)


class Channel(NamedTuple):
    """Name an open channel."""

    id: str
    """What people pass on: a chosen name, or 64 lower-case hex digits."""
    is_hash: bool
    """Whether the id commits to the content."""

    @property
    def topic(self) -> bytes:
        """Return what discovery announces: discovery-channel's SHA-1 of the id."""
        return hashlib.sha1(self.id.encode(), usedforsecurity=False).digest()

    @property
    def identity(self) -> bytes:
        """Return 32 bytes that tell this channel from all others."""
        if self.is_hash:
            return bytes.fromhex(self.id)
        return hashlib.sha256(b"named channel\0" + self.id.encode()).digest()


def hash_channel(digests: Iterable[bytes]) -> Channel:
    """Return the hash channel of a file whose chunks have these SHA-256s."""
    text = "\n".join(digest.hex() for digest in digests)
    return Channel(hashlib.sha256(text.encode()).hexdigest(), is_hash=True)


def looks_like_link(text: str) -> bool:
    """Say whether `text` is a link or nothing: it is never read as a channel."""
    return _LINK.fullmatch(text) is not None


def parse_channel(text: str) -> Channel:
    """Read the id of an open channel: `shoal.parse_channel("team-notes").topic`.

    Raises `UsageError` when it cannot be one.
    """
    text = text.strip()
    if re.fullmatch(_HEX_ID, text):
        return Channel(text.lower(), is_hash=True)
    if looks_like_link(text):
        # Never a channel: see the module's docstring.
        raise UsageError(
            "This looks like the link of a sealed share, not like the id of an open "
            "channel; read it with parse_link() or fetch it with fetch()."
        )
    return Channel(_check_text(text), is_hash=False)


def check_name(name: str) -> Channel:
    """Return the named channel called `name`, chosen by its owner.

    Raises `UsageError` when that name would be read as something else.
    """
    if re.fullmatch(_HEX_ID, name.strip()):
        raise UsageError(
            "A NAME of 64 hex digits would be taken for a hash channel; choose another."
        )
    if looks_like_link(name.strip()):
        raise UsageError("That NAME would be taken for a link; choose another.")
    if name != name.strip():
        raise UsageError("A NAME cannot begin or end with white space; choose another.")
    return Channel(_check_text(name), is_hash=False)


def _check_text(name: str) -> str:
    if not name:
        raise UsageError("The channel's id is empty; give the one you were told.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UsageError("The channel's id is not valid text; check it.") from None
    if size > MAX_NAME_SIZE:
        raise UsageError(
            f"A channel's id has at most {MAX_NAME_SIZE} bytes, this one has {size}; "
            "choose a shorter one."
        )
    if not name.isprintable():
        raise UsageError(
            "A channel's id cannot hold control characters; choose another."
        )
    return name
