"""Everything that is derived from the id of a sealed share, each by its label.

The id does three jobs (it names, it admits, it proves the bytes), so it is never
sent, announced or logged. What must be shown to others is derived from it one way,
and from none of these can another, or the id, be computed. HKDF-SHA256 as RFC 5869
has it; docs/protocol.md, "Sealed transport". Test vectors are in docs/vectors.json.
"""

import hmac

from msgspec import Struct

from shoal.core.crypto.hashes import DIGEST_SIZE

__all__ = ["TOPIC_SIZE", "Keys", "derive_keys", "log_name"]

KEY_SIZE = 32  # bytes
TOPIC_SIZE = 20  # bytes, as a SHA-1 has; what DHT and LAN discovery announce
LOG_NAME_SIZE = 4  # bytes of the log key that are shown, as hex digits
_SALT = b"shoal/v1"


class Keys(Struct, frozen=True):
    """Hold what is derived from one id."""

    knock: bytes
    """Keys the knock that opens a connection."""
    client: bytes
    """Keys the client's proof of knowing the id."""
    server: bytes
    """Keys the server's proof of knowing the id."""
    log: bytes
    """Names the share where the id must not be seen: logs, files beside a target."""
    lan_topic: bytes
    """What LAN discovery announces, in hex where a channel has its SHA-1."""
    dht_topic: bytes
    """What the DHT announces: the infohash as it is."""

    def __repr__(self) -> str:
        return f"<Keys of {self.log_name}>"

    @property
    def log_name(self) -> str:
        """Return the eight hex digits that stand for the share in logs."""
        return self.log[:LOG_NAME_SIZE].hex()


def derive_keys(share_id: bytes) -> Keys:
    """Return every key and topic of the share called `share_id`."""
    if len(share_id) != DIGEST_SIZE:
        raise ValueError(f"an id has {DIGEST_SIZE} bytes, not {len(share_id)}")
    secret = hmac.digest(_SALT, share_id, "sha256")
    return Keys(
        knock=_expand(secret, b"knock", KEY_SIZE),
        client=_expand(secret, b"client", KEY_SIZE),
        server=_expand(secret, b"server", KEY_SIZE),
        log=_expand(secret, b"log", KEY_SIZE),
        lan_topic=_expand(secret, b"lan-topic", TOPIC_SIZE),
        dht_topic=_expand(secret, b"dht-topic", TOPIC_SIZE),
    )


def log_name(share_id: bytes) -> str:
    """Return the eight hex digits that stand for a share in logs."""
    return derive_keys(share_id).log_name


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """Return HKDF-Expand(secret, label, size); one block is always enough."""
    return hmac.digest(secret, label + b"\x01", "sha256")[:size]
