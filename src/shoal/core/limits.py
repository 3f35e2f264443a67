"""Limit what peers and strangers may send us, and how fast we send; pure.

Each limit is a leaky bucket: events fill it, and it empties at a constant rate. A level
above the limit is too much. docs/threat-model.md names the attack that each one stops.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

from shoal.core.names.address_scope import host_key
from shoal.errors import ProtocolError

if TYPE_CHECKING:
    from shoal.core.names.address import Address

__all__ = [
    "ARRIVAL_BURST",
    "ARRIVAL_CHUNKS",
    "ARRIVAL_RATE",
    "DIAL_BURST",
    "DIAL_RATE",
    "INTRODUCTION_PERIOD",
    "MAX_GUESSES",
    "MAX_INTRODUCED_PORTS",
    "MAX_INTRODUCTIONS",
    "MAX_ORIGIN_FETCHES",
    "MAX_PUNCHES",
    "MAX_WAIT",
    "OVERHEAD_LIMIT",
    "DialPace",
    "HostLimit",
    "LeakyBucket",
    "MessageLimit",
    "OverheadLimit",
    "RateLimit",
    "work_of",
]

MAX_WAIT = 1.0  # seconds until a rate limit is asked again
RATE_BURST = 0.1  # seconds of a rate limit that may be moved at once after a pause

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

HANDSHAKE_BURST = 64.0  # failed handshakes at once; more than a busy host causes
HANDSHAKE_RATE = 10.0  # failed handshakes per second; each costs 0.1 ms of work
ARRIVAL_BURST = 384.0  # peers of one host and share at once: twice as many as places
ARRIVAL_RATE = 20.0  # peers per second; with `ARRIVAL_CHUNKS` each costs up to 5 ms
ARRIVAL_CHUNKS = 1 << 18  # of a share; with more, a peer counts as several
MAX_HOSTS = 1024  # hosts that each limit remembers

DIAL_BURST = 20.0  # dials of a node at once
DIAL_RATE = 20.0  # dials per second of all its shares together, to any address
INTRODUCTION_PERIOD = 60.0  # seconds between dials to an address that peers claim
MAX_INTRODUCED_PORTS = 8  # of one host that a node dials in that time
MAX_INTRODUCTIONS = 1024  # claimed addresses that a node dials in that time
MAX_PUNCHES = 64  # dials of a node that wait for a peer to dial us, too

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


class RateLimit(LeakyBucket):
    """Keep the bytes that are sent or received at a rate, on average."""

    def __init__(self, rate: float | None = None) -> None:
        """Allow `rate` bytes per second; None is no limit."""
        super().__init__(rate or 1.0)
        self.is_limited = rate is not None
        """Whether there is a rate to keep."""
        self._burst = self._rate * RATE_BURST

    def change(self, rate: float | None, now: float) -> None:
        """Allow another rate from now on; those that wait ask again soon."""
        self.leak(now)
        self._rate = rate or 1.0
        self.is_limited = rate is not None
        self._burst = self._rate * RATE_BURST
        # What the former rate allowed must not take an hour at the new one.
        self.level = min(self.level, self._burst) if self.is_limited else 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next bytes may be moved, or until to ask again.

        That is `MAX_WAIT` at most, because the rate may change meanwhile.
        """
        if not self.is_limited:
            return 0.0
        self.leak(now)
        return min(self.seconds_above(self._burst), MAX_WAIT)

    def take(self, size: int, now: float) -> None:
        """Count `size` bytes as moved; the next ones wait for any excess."""
        if self.is_limited:
            self.leak(now)
            self.level += size


class MessageLimit(LeakyBucket):
    """Bound how many messages one peer sends beyond those that chunks pay for.

    Acting on any message costs time, and a million messages that request nothing hold
    up every other peer that the same thread serves. An honest peer sends only a few
    messages for each chunk that it sends or receives. After each read we stop reading
    from a peer that exceeds the limit for a while. Cutting it off at once would make
    it reconnect; cutting it off never would keep a connection of which we cannot see
    that the peer has hung up, because unread messages hide that.
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


class DialPace(LeakyBucket):
    """Limit how many addresses a node dials per second, for all its shares.

    A peer that reports addresses chooses where we send packets, and to how many hosts.
    A dial to the internet may wait long for a peer that dials us, too: it keeps its
    place among the first ones for a while, and is then one of `MAX_PUNCHES`.
    """

    def __init__(self) -> None:
        """Start with nothing dialled."""
        super().__init__(DIAL_RATE)
        self._punches = 0
        # When each was dialled, the latest last.
        self._introduced: OrderedDict[Address, float] = OrderedDict()
        self._hosts: Counter[Hashable] = Counter()  # of these addresses

    def introduced_at(self, address: "Address", now: float) -> float:
        """Return when an address may be dialled that only peers have named.

        If that is `now`, it counts as dialled. Peers may claim the address of a victim:
        one that has not been a peer is dialled once in `INTRODUCTION_PERIOD`, and so
        are no more than `MAX_INTRODUCED_PORTS` of its host.
        """
        introduced, hosts = self._introduced, self._hosts
        while introduced:
            oldest, dialled = next(iter(introduced.items()))
            if dialled + INTRODUCTION_PERIOD > now:
                break
            del introduced[oldest]
            hosts[host_key(oldest.host)] -= 1
            if not hosts[host_key(oldest.host)]:
                del hosts[host_key(oldest.host)]
        key = host_key(address.host)
        if address in introduced:
            return introduced[address] + INTRODUCTION_PERIOD
        if hosts[key] >= MAX_INTRODUCED_PORTS or len(introduced) >= MAX_INTRODUCTIONS:
            return now + INTRODUCTION_PERIOD
        introduced[address] = now
        hosts[key] += 1
        return now

    def begin_punch(self) -> bool:
        """Let a dial wait; return False if `MAX_PUNCHES` do."""
        if self._punches >= MAX_PUNCHES:
            return False
        self._punches += 1
        return True

    def end_punch(self) -> None:
        """Note that a dial waits no more."""
        self._punches -= 1

    def room(self, now: float) -> int:
        """Return how many addresses may be dialled now."""
        self.leak(now)
        return int(DIAL_BURST - self.level)

    @property
    def wait(self) -> float:
        """Return in how many seconds there is room for one; call `room` first."""
        return self.seconds_above(DIAL_BURST - 1)


class HostLimit:
    """Bound how often each host does something.

    The listener counts handshakes that fail: any client that knows the link, or has
    recorded a knock, can make us answer without ever confirming its knock. A host may
    run any number of honest peers, because completed handshakes are not counted there.
    A share counts the peers that arrive: a hello with half a bitfield costs
    milliseconds. A host at its limit may go on at `rate` until it stops.
    """

    def __init__(
        self, burst: float = HANDSHAKE_BURST, rate: float = HANDSHAKE_RATE
    ) -> None:
        """Allow `burst` of one host at once, and `rate` more per second."""
        self.weight = 1.0
        """As how many each one counts; at most as many as are allowed at once."""
        self._burst = burst
        self._rate = rate
        # The host that was counted last comes last.
        self._counts: OrderedDict[Hashable, LeakyBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def allows(self, host: str, now: float) -> bool:
        """Return True if a host is below its limit."""
        count = self._counts.get(host_key(host))
        if count is None:
            return True
        count.leak(now)
        return count.level <= self._burst - self.weight

    def admits(self, host: str, now: float) -> bool:
        """Return True if a host is below its limit, and count one more of it then."""
        is_allowed = self.allows(host, now)
        if is_allowed:
            self.add(host, now)
        return is_allowed

    def add(self, host: str, now: float) -> None:
        """Count one more of a host."""
        key = host_key(host)
        count = self._counts.setdefault(key, LeakyBucket(self._rate))
        count.leak(now)
        # No more than the burst, so a host that stops is soon allowed again.
        count.level = min(count.level + self.weight, self._burst)
        self._counts.move_to_end(key)
        if len(self._counts) > MAX_HOSTS:
            self._counts.popitem(last=False)
