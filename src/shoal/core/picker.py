"""Which chunk to ask of whom next; the heart of a download, without any I/O.

What a pick considers, in this order:

1. chunks somebody marked as wanted first;
2. chunks nobody was asked for: the rarest among the peers that have only some,
   a random one of equals, so that two downloaders rarely ask for the same;
3. near the end, when everything missing has been asked for and if the caller wants
   copies: what was asked of others longest ago, so that one slow peer cannot hold
   up the last chunk.

A peer is any hashable value; the picker never looks into it. A chunk goes from
missing to asked for to arrived to verified; only failure leads back. A pick costs
the same however many chunks there are: they lie in buckets by availability, and
taking one out of a bucket moves one other.
"""

from array import array
from collections.abc import Hashable, Iterable
from random import Random
from typing import Generic, TypeVar

from shoal.core.chunks import Bitfield

__all__ = ["MAX_COPIES", "ChunkPicker"]

Peer = TypeVar("Peer", bound=Hashable)

MAX_COPIES = 2  # peers that are asked for one chunk near the end
PROBES = 8  # tries in a bucket before looking at all that a peer has
MAX_CANDIDATES = 256  # chunks remembered from such a look
_ABSENT = -1


class _PeerState:
    """Remember what one peer has and what it was asked for."""

    __slots__ = ("asked", "candidates", "have", "is_exhausted")

    def __init__(self, have: Bitfield | None) -> None:
        self.have = have  # None: everything
        self.asked: set[int] = set()
        self.candidates: list[int] = []  # had by the peer, wanted when last looked
        self.is_exhausted = False  # nothing to ask for until something changes

    def has(self, index: int) -> bool:
        return self.have is None or index in self.have


class ChunkPicker(Generic[Peer]):
    """Hand out the chunks of one share to the peers that have them."""

    def __init__(
        self, have: Bitfield, rng: Random, *, first: Iterable[int] = ()
    ) -> None:
        """Start with the chunks in `have` verified; ask for `first` before others."""
        self._have = have
        self._rng = rng
        self._peers: dict[Peer, _PeerState] = {}
        self._in_flight: dict[int, list[Peer]] = {}  # the longest asked for first
        self._arrived: set[int] = set()
        self._availability = array("l", bytes(8 * have.size))
        self._place = array("l", [_ABSENT]) * have.size
        self._buckets: list[list[int]] = [[]]
        self._wanted_bits = bytearray(-(-have.size // 8))  # what the buckets hold
        self._wanted = 0
        for index in have.missing():
            self._want(index)
        self._first = [index for index in first if index not in have][::-1]

    @property
    def is_complete(self) -> bool:
        """Say whether every chunk is verified."""
        return self._have.is_complete

    def has(self, index: int) -> bool:
        """Say whether a chunk is verified."""
        return index in self._have

    def asked_of(self, peer: Peer) -> frozenset[int]:
        """Return what `peer` was asked for and has not given."""
        state = self._peers.get(peer)
        return frozenset(state.asked) if state else frozenset()

    # What happens to peers.

    def on_peer_joined(self, peer: Peer, have: Bitfield | None) -> None:
        """Note a peer and what it has; None for everything."""
        self._peers[peer] = _PeerState(have)
        for index in have or ():
            self._set_availability(index, 1)

    def on_have(self, peer: Peer, index: int) -> None:
        """Note that a peer which has only some chunks has one more."""
        state = self._peers[peer]
        if state.have is not None and state.have.add(index):
            self._set_availability(index, 1)
            state.is_exhausted = False

    def on_peer_left(self, peer: Peer) -> None:
        """Forget a peer; what it was asked for is asked of others."""
        for index in self.asked_of(peer):
            self.on_request_expired(index, peer)
        state = self._peers.pop(peer, None)
        for index in (state.have if state else None) or ():
            self._set_availability(index, -1)

    # What happens to chunks.

    def next_requests(
        self, peer: Peer, limit: int, *, copies: bool = False
    ) -> list[int]:
        """Return up to `limit` chunks to ask of `peer` now; they count as asked.

        With `copies`, chunks that others were asked for too, once nothing else is
        left.
        """
        state = self._peers[peer]
        picked: list[int] = []
        while len(picked) < limit:
            if self._wanted:
                index = self._pick(state)
            else:
                index = self._pick_copy(state) if copies else None
            if index is None:
                break
            if self._place[index] != _ABSENT:
                self._unwant(index)
            self._in_flight.setdefault(index, []).append(peer)
            state.asked.add(index)
            picked.append(index)
        return picked

    def on_chunk_arrived(self, index: int, peer: Peer) -> bool:
        """Note data for a chunk; say whether it is needed and should be verified.

        Until its verdict nobody else is asked for it.
        """
        self._take_back(index, peer)
        if index in self._have or index in self._arrived:
            return False
        self._arrived.add(index)
        if self._place[index] != _ABSENT:
            self._unwant(index)
        return True

    def on_chunk_verified(self, index: int) -> list[Peer]:
        """Note that a chunk is there; return the peers still asked for it."""
        self._have.add(index)
        self._arrived.discard(index)
        if self._place[index] != _ABSENT:
            self._unwant(index)
        others = self._in_flight.pop(index, [])
        for peer in others:
            self._peers[peer].asked.discard(index)
        return others

    def on_chunk_failed(self, index: int) -> None:
        """Note that what arrived did not verify: the chunk is missing again."""
        self._arrived.discard(index)
        self._want_again(index)

    def on_request_expired(self, index: int, peer: Peer) -> None:
        """Note that `peer` did not answer in time: others may be asked."""
        self._take_back(index, peer)
        self._want_again(index)

    # Picking.

    def _pick(self, state: _PeerState) -> int | None:
        """Return a chunk nobody was asked for and the peer has; rarest first."""
        for position in range(len(self._first) - 1, -1, -1):
            index = self._first[position]
            if self._place[index] == _ABSENT:
                del self._first[position]
            elif state.has(index):
                return index
        if state.is_exhausted:
            return None
        for bucket in self._buckets:
            for _ in range(min(PROBES, len(bucket))):
                index = bucket[int(self._rng.random() * len(bucket))]
                if state.has(index):
                    return index
        return self._pick_candidate(state)

    def _pick_candidate(self, state: _PeerState) -> int | None:
        """Return a chunk of a peer that has few of those still wanted."""
        if state.have is None:
            return None
        for _ in range(2):
            while state.candidates:
                index = state.candidates.pop()
                if self._place[index] != _ABSENT:
                    return index
            useful = int.from_bytes(bytes(state.have), "big")
            useful &= int.from_bytes(self._wanted_bits, "big")
            spare = 8 * len(self._wanted_bits) - 1
            while useful and len(state.candidates) < MAX_CANDIDATES:
                bit = useful.bit_length() - 1
                state.candidates.append(spare - bit)
                useful ^= 1 << bit
            self._rng.shuffle(state.candidates)
            state.candidates.sort(key=self._availability.__getitem__, reverse=True)
        state.is_exhausted = True
        return None

    def _pick_copy(self, state: _PeerState) -> int | None:
        """Return what others were asked for longest ago and the peer has."""
        for index, peers in self._in_flight.items():
            if (
                len(peers) < MAX_COPIES
                and index not in self._arrived
                and index not in state.asked
                and state.has(index)
            ):
                return index
        return None

    # The buckets.

    def _want(self, index: int) -> None:
        bucket = self._buckets[self._availability[index]]
        self._place[index] = len(bucket)
        bucket.append(index)
        self._wanted_bits[index >> 3] |= 0x80 >> (index & 7)
        self._wanted += 1

    def _unwant(self, index: int) -> None:
        bucket = self._buckets[self._availability[index]]
        place, last = self._place[index], bucket.pop()
        if last != index:
            bucket[place] = last
            self._place[last] = place
        self._place[index] = _ABSENT
        self._wanted_bits[index >> 3] &= ~(0x80 >> (index & 7))
        self._wanted -= 1

    def _want_again(self, index: int) -> None:
        """Put a chunk back where anybody may be asked for it, if nobody is."""
        if (
            index in self._in_flight
            or index in self._arrived
            or index in self._have
            or self._place[index] != _ABSENT
        ):
            return
        self._want(index)
        for state in self._peers.values():
            state.is_exhausted = False

    def _take_back(self, index: int, peer: Peer) -> None:
        """Note that `peer` is not asked for a chunk any more."""
        if peer in self._peers:
            self._peers[peer].asked.discard(index)
        peers = self._in_flight.get(index, [])
        if peer in peers:
            peers.remove(peer)
            if not peers:
                del self._in_flight[index]

    def _set_availability(self, index: int, change: int) -> None:
        is_wanted = self._place[index] != _ABSENT
        if is_wanted:
            self._unwant(index)
        self._availability[index] += change
        while len(self._buckets) <= self._availability[index]:
            self._buckets.append([])
        if is_wanted:
            self._want(index)
