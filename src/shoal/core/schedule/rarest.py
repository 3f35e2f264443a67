"""Which chunk to give to a peer that leaves the choice to us.

A holder of everything sees what every peer has announced and what it has on its way
to each. Giving each asker the chunk that fewest have, it sends no chunk a second time
before all have been sent once, which downloaders that choose for themselves cannot
agree on.
"""

from collections.abc import Hashable
from random import Random
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.buckets import Buckets

__all__ = ["RarestFirst"]

Peer = TypeVar("Peer", bound=Hashable)


class RarestFirst(Generic[Peer]):
    """Count the copies of every chunk among the peers of a share."""

    def __init__(self, have: Bitfield, rng: Random) -> None:
        """Give away the chunks in `have`, and what `on_chunk` adds."""
        self._rng = rng
        self._count = have.size
        self._copies = Buckets(have.size)
        for index in have:
            self._copies.add(index)
        self._peers: dict[Peer, Bitfield] = {}  # announced
        self._given: dict[Peer, set[int]] = {}  # on the way, not announced

    def on_chunk(self, index: int) -> None:
        """Note a chunk that may be given from now on."""
        self._copies.add(index)

    def on_gone(self, index: int) -> None:
        """Note a chunk that cannot be given any more."""
        self._copies.discard(index)

    def on_peer_joined(self, peer: Peer, have: Bitfield) -> None:
        """Note a peer and what it announced."""
        self.on_peer_left(peer)
        self._peers[peer] = Bitfield(self._count)
        self._given[peer] = set()
        for index in have:
            self.on_have(peer, index)

    def on_have(self, peer: Peer, index: int) -> None:
        """Note that a peer announced a chunk."""
        announced = self._peers.get(peer)
        if announced is None or not announced.add(index):
            return
        if index in self._given[peer]:
            self._given[peer].discard(index)
        else:
            self._copies.shift(index, 1)

    def on_given(self, peer: Peer, index: int) -> None:
        """Note a chunk on its way to a peer, chosen by either side."""
        given = self._given.get(peer)
        if given is not None and index not in given and index not in self._peers[peer]:
            given.add(index)
            self._copies.shift(index, 1)

    def on_peer_left(self, peer: Peer) -> None:
        """Forget a peer and the copies it has."""
        announced = self._peers.pop(peer, None)
        for index in announced or ():
            self._copies.shift(index, -1)
        for index in self._given.pop(peer, ()):
            self._copies.shift(index, -1)

    def next_for(self, peer: Peer) -> int | None:
        """Return the rarest chunk that a peer lacks; it counts as given."""
        if peer not in self._peers:
            return None
        announced, given = self._peers[peer], self._given[peer]
        index = self._copies.probe(
            self._rng, lambda i: i not in announced and i not in given
        )
        if index is None:
            index = self._search(announced, given)
        if index is not None:
            self.on_given(peer, index)
        return index

    def _search(self, announced: Bitfield, given: set[int]) -> int | None:
        """Look at everything that a peer lacks; it has nearly all there is."""
        lacking = bytearray(byte ^ 0xFF for byte in bytes(announced))
        for index in given:
            lacking[index >> 3] &= ~(0x80 >> (index & 7))
        found = self._copies.candidates(self._rng, bytes(lacking))
        return found[-1] if found else None
