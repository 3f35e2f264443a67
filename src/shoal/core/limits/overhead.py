"""How much a peer may send that carries next to nothing; pure.

Every TLS record costs something to decrypt, however little is in it, and some carry
nothing at all: a key update of 27 bytes costs as much as ten full records. Whoever
sends only those has a node busy with a hundredth of what its line carries. So what
is not payload is counted: it may be as much as an honest peer ever needs, in time and
for what is exchanged, and no more.
"""

from shoal.errors import ProtocolError

__all__ = ["OVERHEAD_LIMIT", "Overhead"]

# More than a record, since one that has not come as a whole counts until it has.
OVERHEAD_LIMIT = 64 * 1024  # bytes of overhead beyond what is paid for
OVERHEAD_RATE = 128 * 1024  # bytes per second: 5,000 messages, each in its own record
PAYLOAD_SHARE = 256  # bytes of payload, either way, that pay for one of overhead


class Overhead:
    """Count what one peer sent beside its payload."""

    def __init__(self) -> None:
        self._debt = 0.0
        self._paid_at: float | None = None

    def on_time(self, now: float) -> None:
        """Let the time that has passed pay for some of it."""
        if self._debt and self._paid_at is not None:
            paid = (now - self._paid_at) * OVERHEAD_RATE
            self._debt = max(0.0, self._debt - paid)
        self._paid_at = now

    def on_payload(self, size: int) -> None:
        """Let `size` bytes of payload pay for some of it."""
        if self._debt:
            self._debt = max(0.0, self._debt - size / PAYLOAD_SHARE)

    def add(self, size: int) -> None:
        """Count `size` more bytes; below zero are some that were payload after all.

        Raises `ProtocolError` when it is too much.
        """
        self._debt += size
        if self._debt > OVERHEAD_LIMIT:
            raise ProtocolError("TLS records with next to nothing in them")
