"""Derive keys and topics from the id of a sealed share; pure.

The id names a share, admits peers to it and proves its bytes, so it is never sent,
announced or logged. Everything that others may see is derived from it, one-way: neither
the id nor another key can be computed from a derived one. HKDF-SHA256 as in RFC 5869;
docs/protocol.md, "Keys and topics". docs/vectors.json has test vectors.
"""

import hmac

from msgspec import Struct

from shoal.core.crypto.hashes import DIGEST_SIZE

__all__ = ["TOPIC_SIZE", "Keys", "derive_keys", "expand", "log_name"]

KEY_SIZE = 32  # bytes
TOPIC_SIZE = 20  # bytes, as many as a SHA-1; DHT and LAN discovery announce topics
LOG_NAME_SIZE = 4  # bytes of the log key in a log name
_SALT = b"shoal/v2"


class Keys(Struct, frozen=True):
    """Hold the keys and topics derived from one id."""

    psk: bytes
    """Pre-shared key of every handshake: it shows that both ends know the id."""
    log: bytes
    """Name of the share where the id must stay secret: in logs and file names."""
    lan_topic: bytes
    """Topic for LAN discovery, in place of a channel's SHA-1."""
    dht_topic: bytes
    """Topic for the DHT: the infohash."""
    relay_token: bytes
    """Token by which holders find each other at a relay."""

    def __repr__(self) -> str:
        return f"<Keys of {self.log_name}>"

    @property
    def log_name(self) -> str:
        """Return the eight hex digits that name the share in logs."""
        return self.log[:LOG_NAME_SIZE].hex()


def derive_keys(share_id: bytes) -> Keys:
    """Return every key and topic of the share with the id `share_id`."""
    if len(share_id) != DIGEST_SIZE:
        raise ValueError(f"an id has {DIGEST_SIZE} bytes, not {len(share_id)}")
    secret = hmac.digest(_SALT, share_id, "sha256")
    return Keys(
        psk=expand(secret, b"psk", KEY_SIZE),
        log=expand(secret, b"log", KEY_SIZE),
        lan_topic=expand(secret, b"lan-topic", TOPIC_SIZE),
        dht_topic=expand(secret, b"dht-topic", TOPIC_SIZE),
        relay_token=expand(secret, b"relay", KEY_SIZE),
    )


def log_name(share_id: bytes) -> str:
    """Return the eight hex digits that name a share in logs."""
    return derive_keys(share_id).log_name


def expand(secret: bytes, label: bytes, size: int) -> bytes:
    """Return HKDF-Expand(secret, label, size), of at most 32 bytes: one block of it."""
    return hmac.digest(secret, label + b"\x01", "sha256")[:size]
