"""Read and write links, which name sealed shares; pure.

A link is `shoal:` and 56 base32 characters: the id and a check, which distinguishes a
typing error from a share that no peer has. Up to eight `,peer=HOST:PORT`, which are
addresses to try first, up to four `,origin=URL`, which are servers with the same
bytes, and up to two `,relay=HOST:PORT`, at which peers meet, may follow. No shell
interprets a character of a link. docs/protocol.md, "Link".

Anyone who knows the id has the share. So `repr()` of a link returns the name used in
logs, not its text, and no error message repeats the text.
"""

import base64
import re
from typing import Self
from urllib.parse import quote, unquote

from shoal.core.checks import check_type
from shoal.core.crypto.hashes import CHECK_SIZE, DIGEST_SIZE, link_check
from shoal.core.crypto.keys import Keys, derive_keys
from shoal.core.names.address import Address, parse_address
from shoal.core.names.channel_id import Channel, parse_channel
from shoal.core.names.link_text import (
    bare_link,
    has_link_form,
    looks_like_hash,
    looks_like_link,
)
from shoal.core.names.origin_url import MAX_ORIGINS, quote_origin, unquote_origin
from shoal.errors import UsageError, told

__all__ = ["MAX_HINTS", "MAX_RELAYS", "Link", "parse_link", "parse_share"]

MAX_HINTS = 8  # addresses in one link
MAX_RELAYS = 2  # relays in one link
LENGTH = 56  # characters of base32, for the id and its check
_SCHEME = "shoal:"
_HINT = "peer="
_ORIGIN = "origin="
_RELAY = "relay="
_TOO_MANY = (
    f"A link names at most {MAX_HINTS} peers, {MAX_ORIGINS} origins and {MAX_RELAYS} "
    "relays; remove some."
)
# ASCII only, because Python's upper() turns some other letters into base32.
_BASE32 = re.compile(r"[A-Za-z2-7]*")


class Link(str):
    """Name a sealed share and, optionally, peers and origins that have it.

    It is the text of the link, so it can be printed, stored and passed on as it is.
    """

    __slots__ = ("hints", "id", "origins", "relays")

    id: bytes
    """32 bytes; a secret of those who have the link."""
    hints: tuple[Address, ...]
    """Addresses to try first; claims of the sender of the link."""
    origins: tuple[str, ...]
    """URLs of servers that have the same bytes; claims, too."""
    relays: tuple[Address, ...]
    """Relays at which peers meet that cannot be reached otherwise; claims, too."""

    def __new__(
        cls,
        id: bytes,
        hints: tuple[Address, ...] = (),
        origins: tuple[str, ...] = (),
        relays: tuple[Address, ...] = (),
    ) -> Self:
        """Return the link of the share with this id; `parse_link` reads a text."""
        link = super().__new__(cls, _write(id, hints, origins, relays))
        values = {"id": id, "hints": hints, "origins": origins, "relays": relays}
        for name, value in values.items():
            object.__setattr__(link, name, value)
        return link

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Link cannot be changed; make another one")

    def __reduce__(self) -> tuple[object, ...]:
        return Link, (self.id, self.hints, self.origins, self.relays)

    def __repr__(self) -> str:
        return f"<Link {self.keys.log_name}>"

    @property
    def keys(self) -> Keys:
        """Return the keys and topics that are derived from the id."""
        return derive_keys(self.id)

    @property
    def identity(self) -> bytes:
        """Return 32 bytes that no other share has; they need not be kept secret."""
        return self.keys.log


def _write(
    share_id: bytes,
    hints: tuple[Address, ...],
    origins: tuple[str, ...],
    relays: tuple[Address, ...],
) -> str:
    text = base64.b32encode(share_id + link_check(share_id)).decode().lower()
    # Brackets are encoded for shells, and the `%` of a zone as in RFC 6874.
    words = [_HINT + quote(str(address), safe=":") for address in hints]
    words += [_ORIGIN + quote_origin(url) for url in origins]
    words += [_RELAY + quote(str(address), safe=":") for address in relays]
    return ",".join((_SCHEME + text, *words))


def parse_share(text: str) -> Link | Channel:
    """Return the link or channel in `text`.

    A text that looks like a link is a link or refused, never a channel, so no attacker
    can downgrade a verified share to an unverified one. Raises `UsageError`.
    """
    if has_link_form(text) or (looks_like_link(text) and not looks_like_hash(text)):
        return parse_link(text)
    return parse_channel(text)


def parse_link(text: str) -> Link:
    """Return the link in `text`, with or without `shoal:`: `shoal.parse_link(text)`.

    It may be in quotes, brackets or punctuation, begin with `web+`, and be
    percent-encoded. Raises `UsageError`, which distinguishes a typing error from a text
    that is no link.
    """
    if isinstance(text, Link):
        return text
    check_type("text", text, str)
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of an argument that are not UTF-8
        raise UsageError("The link is not valid text; copy it again.") from None
    if not (looks_like_link(text) or has_link_form(text)):
        raise UsageError(
            "This is not a link, which begins with `shoal:`; "
            + told("copy the link again.", "pass the one that share() returned.")
        )
    text = bare_link(text)
    if text[: len(_SCHEME)].lower() == _SCHEME:
        text = text[len(_SCHEME) :].removeprefix("//")
    encoded, mark, query = text.partition("?")
    share_id = _parse_id(encoded.removesuffix("/"))
    return Link(share_id, *_parse_hints(query)) if mark else Link(share_id)


def _parse_id(encoded: str) -> bytes:
    if not _BASE32.fullmatch(encoded):
        raise UsageError(
            "This is not a link, though it may look like one: after `shoal:` a link "
            "has only letters and the digits 2 to 7. Copy it again from its source."
        )
    if len(encoded) != LENGTH:
        problem = "cut short" if len(encoded) < LENGTH else "too long"
        raise UsageError(
            f"This link was mistyped or is {problem}: it "
            f"should have {LENGTH} characters after `shoal:` and has {len(encoded)}. "
            "Copy all of it again."
        )
    decoded = base64.b32decode(encoded.upper())
    share_id, check = decoded[:DIGEST_SIZE], decoded[-CHECK_SIZE:]
    if check != link_check(share_id):
        raise UsageError(
            "This link was mistyped: its last characters do not match the rest. "
            "Copy it again from its source."
        )
    return share_id


def _parse_hints(
    query: str,
) -> tuple[tuple[Address, ...], tuple[str, ...], tuple[Address, ...]]:
    """Return the peers, the origins and the relays in the end of a link."""
    if any(map(str.isspace, query)):
        raise UsageError(
            "A link has no spaces in it; separate what follows the link from it, or "
            "copy the link again."
        )
    # Counted before any of it is parsed.
    if query.count("&") >= MAX_HINTS + MAX_ORIGINS + MAX_RELAYS:
        raise UsageError(_TOO_MANY)
    found: dict[str, list[str]] = {_HINT: [], _ORIGIN: [], _RELAY: []}
    for word in query.split("&"):
        name, equals, value = word.partition("=")
        if name + equals not in found:
            raise UsageError(
                "Only peer=HOST:PORT, origin=URL and relay=HOST:PORT may follow the "
                "id in a link; check the end of the link."
            )
        found[name + equals].append(value)
    peers, urls, relays = found.values()
    if len(peers) > MAX_HINTS or len(urls) > MAX_ORIGINS or len(relays) > MAX_RELAYS:
        raise UsageError(_TOO_MANY)
    return (
        tuple(map(_parse_hint, peers)),
        tuple(map(unquote_origin, urls)),
        tuple(map(_parse_hint, relays)),
    )


def _parse_hint(text: str) -> Address:
    return parse_address(unquote(text))
