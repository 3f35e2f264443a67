"""Choose which chunk to send to a peer that leaves the choice to us; pure.

A node that has everything knows what every peer has announced and which chunks are on
their way to each. It sends the chunk that the fewest peers have, so it sends no chunk
twice before every chunk has been sent once. Downloaders that each choose for themselves
cannot agree on that. docs/protocol.md, "Requests for any chunk".
"""

from collections.abc import Hashable
from random import Random
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.buckets import Buckets

__all__ = ["RarestFirst"]

P = TypeVar("P", bound=Hashable)


class RarestFirst(Generic[P]):
    """Count the copies of every chunk among the peers of a share."""

    def __init__(self, have: Bitfield, rng: Random) -> None:
        """Send the chunks in `have`, and those that `on_chunk` adds."""
        self._rng = rng
        self._count = have.size
        self._copies = Buckets(have.size)
        for index in have:
            self._copies.add(index)
        self._peers: dict[P, Bitfield] = {}  # announced
        self._sent: dict[P, set[int]] = {}  # and not announced

    def on_chunk(self, index: int) -> None:
        """Note a chunk that may be sent from now on."""
        self._copies.add(index)

    def on_gone(self, index: int) -> None:
        """Note a chunk that cannot be sent any more."""
        self._copies.discard(index)

    def on_peer_joined(self, peer: P, have: Bitfield) -> None:
        """Note a peer and the chunks that it has announced."""
        self.on_peer_left(peer)
        self._peers[peer] = Bitfield(self._count)
        self._sent[peer] = set()
        for index in have:
            self.on_have(peer, index)

    def on_have(self, peer: P, index: int) -> None:
        """Note that a peer announced a chunk."""
        announced = self._peers.get(peer)
        if announced is None or not announced.add(index):
            return
        if index in self._sent[peer]:
            self._sent[peer].discard(index)
        else:
            self._copies.shift(index, 1)

    def on_sent(self, peer: P, index: int) -> None:
        """Note a chunk that is sent to a peer, whichever side chose it."""
        sent = self._sent.get(peer)
        if sent is not None and index not in sent and index not in self._peers[peer]:
            sent.add(index)
            self._copies.shift(index, 1)

    def on_peer_left(self, peer: P) -> None:
        """Forget a peer and the copies it has."""
        announced = self._peers.pop(peer, None)
        for index in announced or ():
            self._copies.shift(index, -1)
        for index in self._sent.pop(peer, ()):
            self._copies.shift(index, -1)

    def next_for(self, peer: P) -> int | None:
        """Return the rarest chunk that a peer is missing; it counts as sent."""
        if peer not in self._peers:
            return None
        announced, sent = self._peers[peer], self._sent[peer]
        index = self._copies.probe(
            self._rng, lambda i: i not in announced and i not in sent
        )
        if index is None:
            index = self._search(announced, sent)
        if index is not None:
            self.on_sent(peer, index)
        return index

    def _search(self, announced: Bitfield, sent: set[int]) -> int | None:
        """Search all missing chunks of a peer that has nearly everything."""
        missing = bytearray(byte ^ 0xFF for byte in bytes(announced))
        for index in sent:
            missing[index >> 3] &= ~(0x80 >> (index & 7))
        found = self._copies.candidates(self._rng, bytes(missing))
        return found[-1] if found else None
