"""Choose which chunk to request from which peer next; pure.

The order of preference:

1. chunks that a reader waits for, in the order in which they were added;
2. chunks that no peer has been asked for: the rarest among the peers that have only
   some, a random one of equals, so that two downloaders rarely choose the same;
3. when every missing chunk has been requested: of the chunks that the caller names as
   late, the one requested longest ago, so that a slow peer cannot delay the last one.

A peer is any hashable value. A chunk goes from missing to requested to arrived to
verified. It goes back when a request or a chunk fails, and by `forget`.
"""

from collections import deque
from collections.abc import Callable, Container, Hashable, Iterable
from random import Random
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.rarest import CountedBuckets

__all__ = ["MAX_COPIES", "ChunkPicker"]

P = TypeVar("P", bound=Hashable)

MAX_COPIES = 2  # peers that are asked for one chunk near the end
MAX_LISTED = 32  # chunks of a peer that are searched one by one for the rarest


class _PeerChunks:
    """Remember what one peer has and what was requested from it."""

    __slots__ = ("candidates", "have", "is_listed", "refused", "requested")

    def __init__(self, have: Bitfield | None) -> None:
        self.have = have  # None: everything
        self.requested: set[int] = set()
        self.refused: set[int] = set()
        self.candidates: list[int] = []  # had by the peer, free when last looked
        # Whether `candidates` has every free chunk of the peer, also new ones.
        self.is_listed = False

    def among(self, count: int) -> bytes:
        """Return what the peer has and did not refuse, of `count`, as a bitfield."""
        have = Bitfield.full(count) if self.have is None else self.have
        among = bytearray(bytes(have))
        for index in self.refused:
            among[index >> 3] &= ~(0x80 >> (index & 7))
        return bytes(among)

    def list(self, index: int) -> None:
        """Note a free chunk of the peer."""
        if self.is_listed:
            self.candidates.append(index)
            if len(self.candidates) > 2 * MAX_LISTED:
                self.is_listed = False

    def offers(self, index: int) -> bool:
        """Return True if the peer has a chunk and did not refuse it."""
        has = self.have is None or index in self.have
        return has and index not in self.refused


class ChunkPicker(Generic[P]):
    """Assign the chunks of one share to the peers that have them."""

    def __init__(
        self,
        have: Bitfield,
        rng: Random,
        *,
        first: Iterable[int] = (),
        wanted: Iterable[int] | None = None,
    ) -> None:
        """Start with the chunks in `have` verified; request `first` before others.

        With `wanted`, only those are requested, and what `add_wanted` adds.
        """
        self._have = have
        self._rng = rng
        self._peers: dict[P, _PeerChunks] = {}
        self._in_flight: dict[int, list[P]] = {}  # the oldest request first
        self._arrived: set[int] = set()
        missing = Bitfield.full(have.size).without(have) if wanted is None else None
        self.free: CountedBuckets[P] = CountedBuckets(have.size, missing)
        """Wanted chunks that are not requested; the level of each is its rarity."""
        self._first: deque[int] = deque()
        self.left = len(self.free)
        """How many wanted chunks are not verified."""
        self.wanted: set[int] | None = None if wanted is None else set(wanted)
        """The wanted chunks; None for all."""
        for index in sorted(self.wanted or ()):
            if index not in have:
                self.free.add(index)
                self.left += 1
        if wanted is None:
            self._first.extend(index for index in first if index not in have)

    def wants(self, index: int) -> bool:
        """Return True if a chunk is wanted, stored or not."""
        return self.wanted is None or index in self.wanted

    @property
    def requested(self) -> frozenset[int]:
        """Return the chunks that were requested, or have arrived unverified."""
        return frozenset((*self._in_flight, *self._arrived))

    def requested_from(self, peer: P) -> frozenset[int]:
        """Return the chunks that were requested from `peer` and have not arrived."""
        state = self._peers.get(peer)
        return frozenset(state.requested) if state else frozenset()

    def add_wanted(self, indexes: Iterable[int], *, before: bool = False) -> None:
        """Request these as well, in this order; with `before`, before all others."""
        assert self.wanted is not None
        missing = [index for index in indexes if index not in self._have]
        fresh = [index for index in missing if index not in self.wanted]
        for index in fresh:
            self.wanted.add(index)
            self.left += 1
            self._set_free(index)
        if before:
            self._first.extendleft(reversed(missing))
        else:
            self._first.extend(fresh)

    def want_from(self, index: int, peer: P) -> bool:
        """Request a chunk from a peer, if that has it and no other chunk is wanted.

        Returns True if it counts as requested now.
        """
        assert self.wanted is not None
        state = self._peers[peer]
        if self.left or index in self._have or not state.offers(index):
            return False
        self.wanted.add(index)
        self.left = 1
        self._note_request(index, peer, state)
        return True

    def remove_wanted(self, indexes: Iterable[int]) -> dict[int, list[P]]:
        """Request these no more; return the peers to cancel each of them at.

        A chunk that has arrived stays wanted, because it costs nothing more.
        """
        assert self.wanted is not None
        requests: dict[int, list[P]] = {}
        for index in indexes:
            is_here = index in self._have or index in self._arrived
            if is_here or index not in self.wanted:
                continue
            self.wanted.discard(index)
            self.left -= 1
            self.free.discard(index)
            requests[index] = self._in_flight.pop(index, [])
            for peer in requests[index]:
                self._peers[peer].requested.discard(index)
        return requests

    def forget(self, index: int) -> None:
        """Note that a verified chunk is not kept any longer."""
        assert self.wanted is not None
        self._have.discard(index)
        self.wanted.discard(index)

    # Peers come and go.

    def on_peer_joined(self, peer: P, have: Bitfield | None) -> None:
        """Note a peer and what it has; None means everything."""
        self._peers[peer] = _PeerChunks(have)
        if have is not None:
            self.free.count_peer(peer, have)

    def on_have(self, peer: P, index: int) -> bool:
        """Note a new chunk of a partial peer; return True if it is free."""
        state = self._peers[peer]
        if state.have is None or not state.have.add(index):
            return False
        self.free.count_have(peer, index)
        if index not in self.free:
            return False
        state.list(index)
        return True

    def on_have_all(self, peer: P, chunks: Bitfield) -> bool:
        """Note many new chunks of a partial peer; return True if one is free."""
        state = self._peers[peer]
        if state.have is None:
            return False
        fresh = chunks.without(state.have)
        state.have.add_all(fresh)
        self.free.count_all(peer, fresh)
        if not self.free.has_any(fresh):
            return False
        state.is_listed = False
        return True

    def on_peer_left(self, peer: P) -> None:
        """Forget a peer; the chunks requested from it are free again."""
        for index in self.requested_from(peer):
            self.on_request_expired(index, peer)
        self._peers.pop(peer, None)
        self.free.uncount_peer(peer)

    # What happens to chunks.

    def next_requests(
        self, peer: P, limit: int, *, copies: Container[int] = ()
    ) -> list[int]:
        """Return up to `limit` chunks to request from `peer`; they count as requested.

        Once no chunk is free, they are among `copies`, requested from others before.
        """
        state = self._peers[peer]
        picked: list[int] = []
        while len(picked) < limit:
            if self.free:
                index: int | None = self._pick(state)
            else:
                index = self._pick_copy(state, copies) if copies else None
            if index is None:
                break
            self._note_request(index, peer, state)
            picked.append(index)
        return picked

    def next_run(
        self,
        peer: P,
        limit: int,
        accepts: Callable[[int], bool],
        *,
        in_order: bool,
        is_seen: bool = False,
    ) -> list[int]:
        """Return up to `limit` adjacent chunks to request from an origin now.

        They are free and, without `is_seen`, no partial peer has them. The run begins
        at random or, with `in_order`, at the first chunk that a reader waits for.
        """
        state = self._peers[peer]

        def fits(index: int) -> bool:
            is_free = index in self.free and (is_seen or not self.free.level(index))
            return is_free and state.offers(index) and accepts(index)

        first = next(filter(fits, self._first), None) if in_order else None
        if first is None:
            first = self.free.find(self._rng, fits, is_seen=is_seen)
        picked: list[int] = []
        if first is not None:
            for index in range(first, min(first + limit, self._have.size)):
                if not fits(index):
                    break
                self._note_request(index, peer, state)
                picked.append(index)
        return picked

    def request_free(self, index: int, peer: P) -> bool:
        """Request a free chunk from a peer; return False if it has refused it."""
        state = self._peers[peer]
        if index not in self.free or not state.offers(index):
            return False
        self._note_request(index, peer, state)
        return True

    def on_chunk_arrived(self, index: int, peer: P) -> bool:
        """Note a chunk that arrived; return True if it is needed: then verify it.

        Until it is verified, it is not requested again.
        """
        self._drop_request(index, peer)
        if index in self._have or index in self._arrived:
            return False
        self._arrived.add(index)
        self.free.discard(index)
        return True

    def on_chunk_verified(self, index: int) -> list[P]:
        """Note that a chunk is right; return the peers that it is requested from."""
        if self._have.add(index) and self.wants(index):
            self.left -= 1
        if index in self._arrived:
            self._arrived.discard(index)
        else:  # it came in blocks, and may not be requested at all
            self.free.discard(index)
        others = self._in_flight.pop(index, [])
        for peer in others:
            self._peers[peer].requested.discard(index)
        return others

    def on_chunk_failed(self, index: int) -> None:
        """Note that a chunk was wrong: it is missing again."""
        self._arrived.discard(index)
        self._set_free(index)

    def on_request_expired(self, index: int, peer: P) -> None:
        """Note that `peer` will not answer: the chunk may be requested from others."""
        self._drop_request(index, peer)
        self._set_free(index)

    def refuse(self, peer: P, indexes: Iterable[int]) -> None:
        """Never request these chunks from a peer again: it does not have them."""
        self._peers[peer].refused.update(indexes)

    def can_request(self, peer: P) -> bool:
        """Return True if a peer has a free chunk; the search is limited."""
        offers = self._peers[peer].offers
        return self.free.find(self._rng, offers, is_seen=True) is not None

    def was_refused(self, index: int) -> bool:
        """Return True if a peer that should have a chunk has refused it."""
        return any(index in state.refused for state in self._peers.values())

    # Picking.

    def _note_request(self, index: int, peer: P, state: _PeerChunks) -> None:
        self.free.discard(index)
        self._in_flight.setdefault(index, []).append(peer)
        state.requested.add(index)

    def _pick(self, state: _PeerChunks) -> int | None:
        """Return a free chunk of the peer; the rarest first."""
        self.free.note_pick()
        while self._first and self._first[0] not in self.free:
            self._first.popleft()
        for index in self._first:
            if index in self.free and state.offers(index):
                return index
        if state.is_listed:
            return self._pick_listed(state)
        probed = self.free.probe(self._rng, state.offers)
        if probed is not None or (state.have is None and not state.refused):
            return probed
        while True:
            while state.candidates:
                index = state.candidates.pop()
                if index in self.free and state.offers(index):
                    return index
            among = state.among(self._have.size)
            state.candidates = self.free.candidates(self._rng, among)
            if len(state.candidates) <= MAX_LISTED:
                state.is_listed = True
                return self._pick_listed(state)

    def _pick_listed(self, state: _PeerChunks) -> int | None:
        """Return the rarest of the peer's few free chunks."""
        state.candidates = [
            index
            for index in state.candidates
            if index in self.free and state.offers(index)
        ]
        return min(state.candidates, key=self.free.level, default=None)

    def _pick_copy(self, state: _PeerChunks, among: Container[int]) -> int | None:
        """Return the chunk of the peer that was requested from others longest ago."""
        for index, peers in self._in_flight.items():
            if (
                index in among
                and len(peers) < MAX_COPIES
                and index not in self._arrived
                and index not in state.requested
                and state.offers(index)
            ):
                return index
        return None

    def _set_free(self, index: int) -> None:
        """Let any peer be asked for a chunk, unless one is, or we have it."""
        if (
            index in self._in_flight
            or index in self._arrived
            or index in self._have
            or not self.wants(index)
        ):
            return
        self.free.add(index)
        for state in self._peers.values():
            if state.is_listed and state.offers(index):
                state.list(index)

    def _drop_request(self, index: int, peer: P) -> None:
        """Note that a chunk is not requested from `peer` any more."""
        state = self._peers.get(peer)
        if state is not None:
            state.requested.discard(index)
        peers = self._in_flight.get(index)
        if peers and peer in peers:
            peers.remove(peer)
            if not peers:
                del self._in_flight[index]
