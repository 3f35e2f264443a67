"""Bound the memory of what a node has read for its peers and they have not taken; pure.

A request costs a peer a few bytes, and us up to 16 MiB until it reads the answer. All
shares of a node have one budget: while little of it is used, a peer is sent 2 MiB at a
time, otherwise one message, so that many slow peers find room beside fast ones. A peer
that takes hardly anything is disconnected.
"""

from typing import Protocol

__all__ = ["LARGE_PART", "SMALL_PART", "WATCH_PERIOD", "SendBudget", "Sending"]

BUDGET = 64 * 1024 * 1024  # bytes of memory for what waits for the peers of a node
FREE = 36 * 1024 * 1024  # bytes of it below which a peer is sent large parts
# Parts consist of full messages (docs/protocol.md, "Chunk data"). `noise_messages` has
# the same number, but imports cryptography, which open channels do not need. A small
# part may be in memory twice, so 192 peers with one each fit beside `FREE`.
SMALL_PART = 0xFFFF - 16  # bytes
LARGE_PART = 33 * SMALL_PART  # bytes, more than 2 MiB
MEASURE_PAUSE = 0.01  # seconds between two measurements of what is queued
SLOW_SIZE = 16 * 1024  # bytes that a peer must take of what is queued for it
SLOW_TIME = 10.0  # seconds that it has for that
MUCH = 16 * 1024 * 1024  # bytes in use after which memory is given back to the system
LITTLE = 2 * 1024 * 1024  # bytes in use at which it is
SLOWEST = 16  # one of so many is disconnected per `WATCH_PERIOD` if others must wait
WATCH_PERIOD = 1.0  # seconds between two calls of `slow_peers`


class Sending(Protocol):
    """Know what is queued for one peer; a `Receiver`."""

    @property
    def queued(self) -> int:
        """Return how many bytes of memory are in use for what waits for its socket."""
        return 0

    @property
    def accepted(self) -> int:
        """Return how many bytes its socket has accepted so far."""
        return 0

    def hang_up(self) -> None:
        """Disconnect it: it takes too little of what it requested."""
        return None


class _Watched:
    """Remember since when a peer has taken little."""

    __slots__ = ("accepted", "latest", "since")

    def __init__(self, accepted: int, since: float) -> None:
        self.accepted = accepted  # bytes, since then
        self.since = since
        self.latest = accepted  # bytes, at the last call of `slow_peers`


class SendBudget:
    """Share out the memory for data that waits for sockets."""

    def __init__(self, size: int = BUDGET) -> None:
        """Start without peers; allow `size` bytes in all."""
        self._size = size
        self._peers: dict[Sending, _Watched] = {}
        self._coming = 0  # bytes that threads read
        self._queued = 0  # bytes beyond these at most, since the last measurement
        self._measured = 0.0
        self._is_short = False  # a peer had to wait
        self._most = 0  # bytes used since `is_over`

    def add(self, peer: Sending, now: float) -> None:
        """Watch a peer that has requested something, until `remove`."""
        if peer not in self._peers:
            self._peers[peer] = _Watched(peer.accepted, now)

    def remove(self, peer: Sending) -> None:
        """Forget a peer; idempotent."""
        self._peers.pop(peer, None)

    @property
    def is_in_use(self) -> bool:
        """Return True if `slow_peers` and `is_over` may find something."""
        return bool(self._peers) or self._most >= MUCH

    def is_free(self, now: float) -> bool:
        """Return True if a peer may be sent a large part."""
        return self._used(FREE, now) < FREE

    def room(self, now: float, most: int = LARGE_PART) -> int:
        """Return how many bytes to read now for a peer; 0 if it has to wait.

        There are at most `most`, but at least as many as a small part has. They count
        from now on; call `made` once they are read.
        """
        large = min(LARGE_PART, max(most, SMALL_PART))
        size = large if self.is_free(now) else SMALL_PART
        if self._used(self._size, now) + size > self._size:
            self._is_short = True
            return 0
        self._coming += size
        self._most = max(self._most, self._queued + self._coming)
        return size

    def made(self, size: int) -> None:
        """Note that what was read waits for the peer's socket now, or was dropped."""
        self._coming -= size
        self._queued += size

    def count(self, size: int) -> None:
        """Count bytes that were queued without asking for room: there are few."""
        self._queued += size

    def _used(self, enough: int, now: float) -> int:
        """Return how many bytes are queued at most; measure if that is not little."""
        used = self._queued + self._coming
        if used >= enough // 2 and now - self._measured >= MEASURE_PAUSE:
            self._measured = now
            self._queued = sum(peer.queued for peer in self._peers)
        return self._queued + self._coming

    def is_over(self) -> bool:
        """Return True, once, when little is in use after much was."""
        used = self._coming + sum(peer.queued for peer in self._peers)
        if self._most < MUCH or used > LITTLE:
            return False
        self._most = 0
        return True

    def slow_peers(self, now: float) -> list[Sending]:
        """Return the peers that have taken too little of what is queued, for too long.

        If others have to wait for room, the slowest few are among them. Call this
        every `WATCH_PERIOD`.
        """
        slow: list[Sending] = []
        taken: list[tuple[int, Sending]] = []
        for peer, watched in self._peers.items():
            accepted = peer.accepted
            taken.append((accepted - watched.latest, peer))
            watched.latest = accepted
            if not peer.queued or accepted - watched.accepted >= SLOW_SIZE:
                watched.accepted, watched.since = accepted, now
            elif now - watched.since >= SLOW_TIME:
                slow.append(peer)
        if self._is_short and not slow:
            taken = [(size, peer) for size, peer in taken if peer.queued]
            taken.sort(key=lambda each: each[0])
            slow = [peer for _, peer in taken[: -(-len(taken) // SLOWEST)]]
        self._is_short = False
        return slow
