"""Choose a chunk to send to a peer that accepts any; pure.

A downloader requests the rarest chunk first, and a source sends the rarest first. A
node that has everything knows what every peer has announced and which chunks are on
their way to each. It sends the chunk that the fewest peers have, so it sends no chunk
twice before every chunk has been sent once. Downloaders that each choose for themselves
cannot agree on that. docs/protocol.md, "Requests for any chunk".
"""

from collections.abc import Hashable
from random import Random
from typing import TypeVar

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.counted import CountedBuckets

__all__ = ["RarestFirst"]

PART = 64 * 1024  # bytes of a bitfield that are searched together

P = TypeVar("P", bound=Hashable)


class RarestFirst(CountedBuckets[P]):
    """Hold the chunks that we can send; the level of each is its copies among peers.

    Peers that joined with every chunk are not counted: they have one copy of each, and
    request none.
    """

    def __init__(self, have: Bitfield, rng: Random) -> None:
        """Begin with the chunks in `have`."""
        super().__init__(have.size, have)
        self._rng = rng
        self._announced: dict[P, Bitfield] = {}
        self._sent: dict[P, set[int]] = {}  # and not announced

    def on_peer_joined(self, peer: P, have: Bitfield) -> None:
        """Note a peer and the chunks that it has announced."""
        self.on_peer_left(peer)
        if have.is_complete:
            return
        self._announced[peer] = have.copy()
        self._sent[peer] = set()
        self.count_peer(peer, self._announced[peer])

    def on_have(self, peer: P, index: int) -> None:
        """Note that a peer announced a chunk."""
        announced = self._announced.get(peer)
        if announced is None or not announced.add(index):
            return
        is_counted = index in self._sent[peer]
        self._sent[peer].discard(index)
        self.count_have(peer, index, is_counted=is_counted)

    def on_have_all(self, peer: P, chunks: Bitfield) -> None:
        """Note that a peer announced many chunks at once."""
        announced = self._announced.get(peer)
        if announced is None:
            return
        fresh = chunks.without(announced)
        announced.add_all(fresh)
        # Their copies are counted already.
        counted = [index for index in self._sent[peer] if index in fresh]
        self._sent[peer].difference_update(counted)
        for index in counted:
            fresh.discard(index)
            self.count_have(peer, index, is_counted=True)
        self.count_all(peer, fresh)

    def on_sent(self, peer: P, index: int) -> None:
        """Note a chunk that is sent to a peer, whichever side chose it."""
        sent = self._sent.get(peer)
        if sent is None or index in sent:
            return
        if index not in self._announced[peer]:
            sent.add(index)
            self.shift(index, 1)

    def on_peer_left(self, peer: P) -> None:
        """Forget a peer and the copies it has."""
        self._announced.pop(peer, None)
        self.uncount_peer(peer)
        for index in self._sent.pop(peer, ()):
            self.shift(index, -1)

    def next_for(self, peer: P, wanted: Bitfield | None = None) -> int | None:
        """Return the rarest chunk that a peer is missing; it counts as sent.

        Without `wanted`, the peer wants every chunk.
        """
        if peer not in self._announced:
            return None
        announced, sent = self._announced[peer], self._sent[peer]
        self.note_pick()

        def accepts(index: int) -> bool:
            is_wanted = wanted is None or index in wanted
            return is_wanted and index not in announced and index not in sent

        index = self.probe(self._rng, accepts)
        # A few tries may miss the rarest of the few chunks that a peer wants.
        if index is None or (wanted is not None and self.level(index)):
            index = self._search(announced, sent, wanted)
        if index is not None:
            self.on_sent(peer, index)
        return index

    def _search(
        self, announced: Bitfield, sent: set[int], wanted: Bitfield | None
    ) -> int | None:
        """Search the missing chunks of a peer that has nearly everything it wants.

        Of a share with very many chunks, the first part that has some is enough.
        """
        size = len(self._bits)
        starts = range(0, size, PART)
        first = int(self._rng.random() * len(starts)) if len(starts) > 1 else 0
        for start in (*starts[first:], *starts[:first]):
            part = slice(start, min(start + PART, size))
            missing = ~int.from_bytes(announced.part(part), "big")
            missing &= int.from_bytes(self._bits[part], "big")
            if wanted is not None:
                missing &= int.from_bytes(wanted.part(part), "big")
            if not missing:
                continue
            among = bytearray(missing.to_bytes(part.stop - start, "big"))
            for index in sent:
                if part.start <= index >> 3 < part.stop:
                    among[(index >> 3) - start] &= ~(0x80 >> (index & 7))
            found = self.candidates(self._rng, bytes(among), start)
            if found:
                return found[-1]
        return None
