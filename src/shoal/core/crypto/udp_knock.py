"""Make and check the datagrams that come before a QUIC connection; pure.

A node answers no datagram of a stranger. So two nodes first exchange datagrams that
only those can make who know the id (docs/protocol.md, "QUIC"). Each has 48 bytes, which
look random to all others:

    nonce 16, HMAC-SHA256(key, kind ‖ nonce ‖ nonce of the other end) 32

The key is HKDF-Expand(psk, "udp"). A knock is the first one, and has no other nonce.
One that answers a knock shows that its sender receives at its address.
"""

import enum
import hmac

from shoal.core.crypto.keys import expand

__all__ = ["DATAGRAM_SIZE", "NONCE_SIZE", "Kind", "is_made", "make", "udp_key"]

NONCE_SIZE = 16  # bytes
_MAC_SIZE = 32  # bytes
DATAGRAM_SIZE = NONCE_SIZE + _MAC_SIZE  # bytes


class Kind(enum.Enum):
    """Tell datagrams apart."""

    KNOCK = b"knock"
    """The sender dials; it may not know yet whether we exist."""
    REPLY = b"reply"
    """The sender dials, too, and has had a datagram of ours."""
    ACCEPT = b"accept"
    """The sender does not dial, and has had a knock of ours."""


def udp_key(psk: bytes) -> bytes:
    """Return the key of a share's datagrams."""
    return expand(psk, b"udp", _MAC_SIZE)


def make(key: bytes, kind: Kind, nonce: bytes, other: bytes = b"") -> bytes:
    """Return a datagram with our nonce, for a node that has sent `other`."""
    return nonce + hmac.digest(key, kind.value + nonce + other, "sha256")


def is_made(key: bytes, kind: Kind, datagram: bytes, other: bytes = b"") -> bool:
    """Return True if a datagram is of this kind and answers our nonce `other`."""
    nonce = datagram[:NONCE_SIZE]
    return hmac.compare_digest(datagram, make(key, kind, nonce, other))
