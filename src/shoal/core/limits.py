"""Limit what peers and strangers may send us; pure.

Each limit is a leaky bucket: events fill it, and it empties at a constant rate. A level
above the limit is too much. `core.dials` and `core.host_limits` have those of dials
and of strangers. docs/threat-model.md names the attack that each one stops.
"""

from shoal.errors import ProtocolError

__all__ = [
    "MAX_GUESSES",
    "MAX_ORIGIN_FETCHES",
    "LeakyBucket",
    "MessageLimit",
    "OverheadLimit",
    "work_of",
]

MESSAGE_RATE = 1000.0  # messages per second beyond those that chunks pay for
MESSAGE_BURST = 4000.0  # messages at once
WORK_CHUNKS = 16_384  # of a share; work on all its chunks counts as a message for each
WORK_RANGES = 64  # runs of chunks in a message that count as another message
NAMED_AGAIN = 100  # chunks announced again that count as one message
MAX_PAUSE = 10.0  # seconds; we do not notice that a peer hangs up during a pause
MAX_PAUSES = 2  # longest pauses in a row; after the next excess the peer is cut off

OVERHEAD_LIMIT = 64 * 1024  # bytes of overhead that nothing has paid for
OVERHEAD_RATE = 128 * 1024  # bytes per second: 7,000 messages of Noise
PAYLOAD_SHARE = 256  # bytes of payload, sent or received, that pay for one of overhead
MAX_GUESSES = 3  # wrong proofs until a code ends
MAX_ORIGIN_FETCHES = 1024  # chunks that one peer may announce to fetch from an origin


class LeakyBucket:
    """Count something, and let the count fall at a constant rate."""

    def __init__(self, rate: float) -> None:
        """Start empty; `rate` is how much runs out per second."""
        self.level = 0.0
        """What is in the bucket; users of the bucket add to it."""
        self._rate = rate
        self._leaked_at: float | None = None

    def leak(self, now: float) -> None:
        """Remove what has run out since the last call."""
        if self.level and self._leaked_at is not None:
            self.level = max(0.0, self.level - (now - self._leaked_at) * self._rate)
        self._leaked_at = now

    def seconds_above(self, limit: float) -> float:
        """Return how long after the last `leak` the level stays above `limit`."""
        return max(0.0, (self.level - limit) / self._rate)


class MessageLimit(LeakyBucket):
    """Bound how many messages one peer sends beyond those that chunks pay for.

    Acting on any message costs time, and a million messages that request nothing hold
    up every other peer that the same thread serves. An honest peer sends only a few
    messages for each chunk that it sends or receives. A peer that exceeds the limit is
    not read from for a while: cut off at once, it would reconnect. It is cut off in the
    end, because unread messages hide whether it has hung up.
    """

    def __init__(self) -> None:
        """Start with no message counted."""
        super().__init__(MESSAGE_RATE)
        self._counted = 0
        self._pauses = 0  # longest ones, in a row

    def add(self, messages: float) -> None:
        """Count work that costs as much as this many messages."""
        self.level += messages

    def pause(self, messages: int, now: float) -> float:
        """Return for how many seconds to stop reading from the peer.

        `messages` is how many the peer has sent so far, less the chunks that it sent
        and received. Raises `ProtocolError` after `MAX_PAUSES` longest pauses.
        """
        self.leak(now)
        self.level = max(0.0, self.level + messages - self._counted)
        self._counted = messages
        if self.level <= MESSAGE_BURST:
            self._pauses = 0
            return 0.0
        pause = min(MAX_PAUSE, self.seconds_above(MESSAGE_BURST))
        self._pauses = self._pauses + 1 if pause == MAX_PAUSE else 0
        if self._pauses > MAX_PAUSES:
            raise ProtocolError("an endless flow of messages without any chunk")
        return pause


def work_of(runs: int, again: int, chunks: int = 0) -> float:
    """Return as how many more messages one counts that names runs of chunks.

    `again` is how many of the chunks it had named before, and `chunks` the number in
    the share if it costs work on all of them.
    """
    return runs / WORK_RANGES + again / NAMED_AGAIN + chunks / WORK_CHUNKS


class OverheadLimit(LeakyBucket):
    """Bound how many bytes one peer sends that are not payload.

    Decrypting a message costs time even if it carries hardly anything. A peer that
    sends only messages of one byte could keep a node busy with a hundredth of its line.
    """

    def __init__(self) -> None:
        """Start with no overhead counted."""
        super().__init__(OVERHEAD_RATE)

    def on_payload(self, size: int) -> None:
        """Let `size` bytes of payload pay for some overhead."""
        self.level = max(0.0, self.level - size / PAYLOAD_SHARE)

    def add(self, size: int, payload: int = 0) -> None:
        """Count `size` bytes, which came with `payload` bytes of payload.

        Raises `ProtocolError` when the limit is exceeded.
        """
        self.level = max(0.0, self.level + size - payload / PAYLOAD_SHARE)
        if self.level > OVERHEAD_LIMIT:
            raise ProtocolError("messages that carry almost no data")
