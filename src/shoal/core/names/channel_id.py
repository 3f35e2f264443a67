"""Read and write the ids of open channels; pure.

A *hash channel* has an id of 64 hex digits that commits to every chunk; nothing in it
is trusted unless it verifies. A *named channel* has any other id, and nothing in it can
be verified. The two cannot be confused, so no attacker can downgrade a verified share
to an unverified one. For the same reason, a text that looks like a link, a code or a
mistyped hash is never a channel (`link_text`); `link` and `code` read the first two. A
named channel that is called like a code is read with the prefix `channel:`.
docs/protocol.md, "Named channels", "Hash channels" and "Codes".
"""

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from shoal.core.checks import check_type
from shoal.core.names.code_words import has_code_form, looks_like_code
from shoal.core.names.link_text import (
    bare_link,
    has_link_form,
    looks_like_hash,
    looks_like_link,
)
from shoal.errors import UsageError, told

__all__ = ["MAX_NAME_SIZE", "Channel", "check_name", "hash_channel", "parse_channel"]

MAX_NAME_SIZE = 1024  # bytes of UTF-8
_HEX_ID = r"[0-9a-fA-F]{64}"
_PREFIX = "channel:"


class Channel(NamedTuple):
    """Name an open channel."""

    id: str
    """A chosen name, or 64 lower-case hex digits."""
    is_hash: bool
    """Whether the id commits to the content."""

    @property
    def topic(self) -> bytes:
        """Return the topic for discovery, as in discovery-channel: the id's SHA-1."""
        return hashlib.sha1(self.id.encode(), usedforsecurity=False).digest()

    @property
    def identity(self) -> bytes:
        """Return 32 bytes that no other channel has."""
        if self.is_hash:
            return bytes.fromhex(self.id)
        return hashlib.sha256(b"named channel\0" + self.id.encode()).digest()


def hash_channel(digests: Iterable[bytes]) -> Channel:
    """Return the hash channel of a file whose chunks have these SHA-256s."""
    text = "\n".join(digest.hex() for digest in digests)
    return Channel(hashlib.sha256(text.encode()).hexdigest(), is_hash=True)


def parse_channel(text: str) -> Channel:
    """Return the channel with this id: `shoal.parse_channel("team-notes").topic`.

    The prefix `channel:` is for a name that would be read as a code. Raises
    `UsageError` if the text cannot be an id.
    """
    check_type("text", text, str)
    given = text.strip()
    # A phone may write the first letter of a line as a capital.
    has_prefix = given[: len(_PREFIX)].lower() == _PREFIX
    text = given[len(_PREFIX) :] if has_prefix else given
    bare = bare_link(text)
    if re.fullmatch(_HEX_ID, bare):
        return Channel(bare.lower(), is_hash=True)
    if looks_like_hash(text) and not has_link_form(text):
        raise UsageError(
            "This looks like the id of a hash channel, but that has exactly 64 hex "
            "digits; copy it again from its source."
        )
    if looks_like_link(text):
        raise UsageError(
            "This looks like the link of a sealed share, not like the id of an open "
            "channel; read it with parse_link() or fetch it with fetch()."
        )
    if not has_prefix and looks_like_code(text):
        raise UsageError(
            f"{_not_a_channel(text)} If an open channel has this name, write "
            f"{_PREFIX}{text}"
        )
    return Channel(_check_text(text), is_hash=False)


def _not_a_channel(text: str) -> str:
    """Return the sentence about a text that is a code or begins like one."""
    if has_code_form(text):
        redeems = told("shoal get turns", "redeem() turns")
        return f"This is a code, not a link; {redeems} it into one."
    return (
        "This looks like a code, but a code has a number of four digits and three "
        "words; enter all of it."
    )


def check_name(name: str) -> Channel:
    """Return the named channel called `name`, for its owner to share.

    Raises `UsageError` if the name would be read as something else.
    """
    if looks_like_hash(name) and not has_link_form(name):
        raise UsageError(
            "A NAME of 50 or more hex digits would be read as a hash channel; choose "
            "another."
        )
    if looks_like_link(name):
        raise UsageError("That NAME would be read as a link; choose another.")
    if looks_like_code(name) or name[: len(_PREFIX)].lower() == _PREFIX:
        raise UsageError("That NAME would be read as a code; choose another.")
    if name != name.strip():
        raise UsageError("A NAME cannot begin or end with white space; choose another.")
    return Channel(_check_text(name), is_hash=False)


def _check_text(name: str) -> str:
    if not name:
        raise UsageError("The channel's id is empty; enter the id that you received.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise UsageError("The channel's id is not valid text; copy it again.") from None
    if size > MAX_NAME_SIZE:
        raise UsageError(
            f"A channel's id has at most {MAX_NAME_SIZE} bytes, but this has {size}; "
            "choose a shorter one."
        )
    if not name.isprintable():
        raise UsageError(
            "A channel's id cannot contain control characters; choose another."
        )
    return name
