"""Which chunk to ask of whom next; the heart of a download, without any I/O.

What a pick considers, in this order:

1. chunks somebody waits for, in the order they were named;
2. chunks nobody was asked for: the rarest among the peers that have only some,
   a random one of equals, so that two downloaders rarely ask for the same;
3. near the end, when everything missing has been asked for: of what the caller says
   is overdue, what was asked of others longest ago, so that one slow peer cannot
   hold up the last chunk.

An origin is asked by `next_run` for what nobody has at all.

A peer is any hashable value; the picker never looks into it. A chunk goes from
missing to asked for to arrived to verified; only failure leads back, and `forget`, by a
reader who does not keep what he has read.
"""

from collections import deque
from collections.abc import Callable, Container, Hashable, Iterable
from random import Random
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.buckets import Buckets

__all__ = ["MAX_COPIES", "ChunkPicker"]

Peer = TypeVar("Peer", bound=Hashable)

MAX_COPIES = 2  # peers that are asked for one chunk near the end
MAX_LISTED = 32  # chunks of a peer that are looked through to find the rarest


class _PeerState:
    """Remember what one peer has and what it was asked for."""

    __slots__ = ("asked", "candidates", "have", "is_listed", "refused")

    def __init__(self, have: Bitfield | None) -> None:
        self.have = have  # None: everything
        self.asked: set[int] = set()
        self.refused: set[int] = set()
        self.candidates: list[int] = []  # had by the peer, wanted when last looked
        # Whether `candidates` has all that it could be asked for. Chunks are added
        # as they come, so who has little of use costs little.
        self.is_listed = False

    def among(self, count: int) -> bytes:
        """Return what the peer has and did not refuse, of `count`, as a bitfield."""
        have = Bitfield.full(count) if self.have is None else self.have
        among = bytearray(bytes(have))
        for index in self.refused:
            among[index >> 3] &= ~(0x80 >> (index & 7))
        return bytes(among)

    def list(self, index: int) -> None:
        """Note that the peer could be asked for a chunk."""
        if self.is_listed:
            self.candidates.append(index)
            if len(self.candidates) > 2 * MAX_LISTED:
                self.is_listed = False

    def has(self, index: int) -> bool:
        has = self.have is None or index in self.have
        return has and index not in self.refused


class ChunkPicker(Generic[Peer]):
    """Hand out the chunks of one share to the peers that have them."""

    def __init__(
        self,
        have: Bitfield,
        rng: Random,
        *,
        first: Iterable[int] = (),
        wanted: Iterable[int] | None = None,
    ) -> None:
        """Start with the chunks in `have` verified; ask for `first` before others.

        With `wanted`, only those are fetched, and what `want` adds.
        """
        self._have = have
        self._rng = rng
        self._peers: dict[Peer, _PeerState] = {}
        self._in_flight: dict[int, list[Peer]] = {}  # the longest asked for first
        self._arrived: set[int] = set()
        self._buckets = Buckets(have.size)  # what nobody was asked for, by rarity
        self._first: deque[int] = deque()
        self._left = 0  # wanted and not verified
        self._wanted: set[int] | None = None if wanted is None else set()
        if wanted is None:
            for index in have.missing():
                self._buckets.add(index)
            self._left = have.size - len(have)
            self._first.extend(index for index in first if index not in have)
        else:
            self.want(wanted)

    @property
    def is_complete(self) -> bool:
        """Say whether every chunk that is wanted is verified."""
        return not self._left

    @property
    def is_all_asked(self) -> bool:
        """Say whether all that is missing was asked for: only copies are left."""
        return not self._buckets

    @property
    def wants_all(self) -> bool:
        """Say whether any chunk is of use."""
        return self._wanted is None

    @property
    def unseen(self) -> int:
        """Return how many chunks nobody was asked for and no partial peer has."""
        return self._buckets.size_of(0)

    @property
    def an_unseen(self) -> int | None:
        """Return one of those chunks, or None."""
        return self._buckets.one_of(0)

    def has(self, index: int) -> bool:
        """Say whether a chunk is verified."""
        return index in self._have

    @property
    def asked(self) -> frozenset[int]:
        """Return what somebody was asked for, or has given and is not verified."""
        return frozenset((*self._in_flight, *self._arrived))

    def asked_of(self, peer: Peer) -> frozenset[int]:
        """Return what `peer` was asked for and has not given."""
        state = self._peers.get(peer)
        return frozenset(state.asked) if state else frozenset()

    def want(self, indexes: Iterable[int], *, before: bool = False) -> None:
        """Fetch these as well, in this order; for one who reads them so.

        With `before` they come before all that was wanted until now.
        """
        assert self._wanted is not None
        missing = [index for index in indexes if index not in self._have]
        fresh = [index for index in missing if index not in self._wanted]
        for index in fresh:
            self._wanted.add(index)
            self._left += 1
            self._want_again(index)
        if before:
            self._first.extendleft(reversed(missing))
        else:
            self._first.extend(fresh)

    def want_of(self, index: int, peer: Peer) -> bool:
        """Fetch a chunk of a peer, if that has it and no other is wanted; say so."""
        assert self._wanted is not None
        state = self._peers[peer]
        if self._left or index in self._have or not state.has(index):
            return False
        self._wanted.add(index)
        self._left = 1
        self._note_asked(index, peer, state)
        return True

    def unwant(self, indexes: Iterable[int]) -> dict[int, list[Peer]]:
        """Fetch these no more; return who was asked for which of them.

        What has arrived stays wanted: it costs nothing more.
        """
        assert self._wanted is not None
        asked: dict[int, list[Peer]] = {}
        for index in indexes:
            if (
                index in self._have
                or index in self._arrived
                or index not in self._wanted
            ):
                continue
            self._wanted.discard(index)
            self._left -= 1
            self._buckets.discard(index)
            asked[index] = self._in_flight.pop(index, [])
            for peer in asked[index]:
                self._peers[peer].asked.discard(index)
        return asked

    def forget(self, index: int) -> None:
        """Note that a chunk which was verified is not kept any longer."""
        assert self._wanted is not None
        self._have.discard(index)
        self._wanted.discard(index)
        # Nobody counted while it was here.
        partial = [s.have for s in self._peers.values() if s.have is not None]
        level = sum(index in have for have in partial)
        self._buckets.shift(index, level - self._buckets.level(index))

    # What happens to peers.

    def on_peer_joined(self, peer: Peer, have: Bitfield | None) -> None:
        """Note a peer and what it has; None for everything."""
        self._peers[peer] = _PeerState(have)
        for index in have or ():
            if index not in self._have:
                self._buckets.shift(index, 1)

    def on_have(self, peer: Peer, index: int) -> bool:
        """Note that a peer which has only some chunks has one more.

        Say whether it may be asked for that.
        """
        state = self._peers[peer]
        # How rare a chunk is that is here does not matter any more.
        if state.have is None or not state.have.add(index) or index in self._have:
            return False
        self._buckets.shift(index, 1)
        if index not in self._buckets:
            return False
        state.list(index)
        return True

    def on_peer_left(self, peer: Peer) -> None:
        """Forget a peer; what it was asked for is asked of others."""
        for index in self.asked_of(peer):
            self.on_request_expired(index, peer)
        state = self._peers.pop(peer, None)
        for index in (state.have if state else None) or ():
            if index not in self._have:
                self._buckets.shift(index, -1)

    # What happens to chunks.

    def next_requests(
        self, peer: Peer, limit: int, *, copies: Container[int] = ()
    ) -> list[int]:
        """Return up to `limit` chunks to ask of `peer` now; they count as asked.

        Once nothing else is left, they are of `copies`, which others were asked for.
        """
        state = self._peers[peer]
        picked: list[int] = []
        while len(picked) < limit:
            if self._buckets:
                index: int | None = self._pick(state)
            else:
                index = self._pick_copy(state, copies) if copies else None
            if index is None:
                break
            self._note_asked(index, peer, state)
            picked.append(index)
        return picked

    def next_run(
        self, peer: Peer, limit: int, accepts: Callable[[int], bool], *, in_order: bool
    ) -> list[int]:
        """Return up to `limit` adjacent chunks to ask of an origin now.

        Nobody was asked for them and no peer that has some has them; the run begins at
        random or, with `in_order`, where somebody waits for it.
        """
        state = self._peers[peer]

        def is_free(index: int) -> bool:
            is_unseen = index in self._buckets and not self._buckets.level(index)
            return is_unseen and state.has(index) and accepts(index)

        first = next(filter(is_free, self._first), None) if in_order else None
        if first is None:
            first = self._buckets.find_unseen(self._rng, is_free)
        picked: list[int] = []
        if first is not None:
            for index in range(first, min(first + limit, self._have.size)):
                if not is_free(index):
                    break
                self._note_asked(index, peer, state)
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
        self._buckets.discard(index)
        return True

    def on_chunk_verified(self, index: int) -> list[Peer]:
        """Note that a chunk is there; return the peers still asked for it."""
        if self._have.add(index) and self._is_wanted(index):
            self._left -= 1
        self._arrived.discard(index)
        self._buckets.discard(index)
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

    def on_request_refused(self, index: int, peer: Peer) -> None:
        """Note that `peer` does not have a chunk after all: others are asked."""
        state = self._peers.get(peer)
        if state is not None:
            state.refused.add(index)
        self.on_request_expired(index, peer)

    # Picking.

    def _note_asked(self, index: int, peer: Peer, state: _PeerState) -> None:
        self._buckets.discard(index)
        self._in_flight.setdefault(index, []).append(peer)
        state.asked.add(index)

    def _pick(self, state: _PeerState) -> int | None:
        """Return a chunk nobody was asked for and the peer has; rarest first."""
        while self._first and self._first[0] not in self._buckets:
            self._first.popleft()
        for index in self._first:
            if index in self._buckets and state.has(index):
                return index
        if state.is_listed:
            return self._pick_listed(state)
        probed = self._buckets.probe(self._rng, state.has)
        if probed is not None or (state.have is None and not state.refused):
            return probed
        while True:
            while state.candidates:
                index = state.candidates.pop()
                if index in self._buckets and state.has(index):
                    return index
            among = state.among(self._have.size)
            state.candidates = self._buckets.candidates(self._rng, among)
            if len(state.candidates) <= MAX_LISTED:
                state.is_listed = True
                return self._pick_listed(state)

    def _pick_listed(self, state: _PeerState) -> int | None:
        """Return the rarest of the few chunks that the peer can be asked for."""
        state.candidates = [
            index
            for index in state.candidates
            if index in self._buckets and state.has(index)
        ]
        return min(state.candidates, key=self._buckets.level, default=None)

    def _pick_copy(self, state: _PeerState, among: Container[int]) -> int | None:
        """Return what others were asked for longest ago and the peer has."""
        for index, peers in self._in_flight.items():
            if (
                index in among
                and len(peers) < MAX_COPIES
                and index not in self._arrived
                and index not in state.asked
                and state.has(index)
            ):
                return index
        return None

    def _is_wanted(self, index: int) -> bool:
        return self._wanted is None or index in self._wanted

    def _want_again(self, index: int) -> None:
        """Put a chunk where anybody may be asked for it, if nobody is."""
        if (
            index in self._in_flight
            or index in self._arrived
            or index in self._have
            or not self._is_wanted(index)
        ):
            return
        self._buckets.add(index)
        for state in self._peers.values():
            if state.is_listed and state.has(index):
                state.list(index)

    def _take_back(self, index: int, peer: Peer) -> None:
        """Note that `peer` is not asked for a chunk any more."""
        state = self._peers.get(peer)
        if state is not None:
            state.asked.discard(index)
        peers = self._in_flight.get(index)
        if peers and peer in peers:
            peers.remove(peer)
            if not peers:
                del self._in_flight[index]
