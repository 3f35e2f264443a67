"""Keep chunks by rarity, and choose one to send to a peer that accepts any; pure.

A downloader requests the rarest chunk first, and a source sends the rarest first. A
node that has everything knows what every peer has announced and which chunks are on
their way to each. It sends the chunk that the fewest peers have, so it sends no chunk
twice before every chunk has been sent once. Downloaders that each choose for themselves
cannot agree on that. docs/protocol.md, "Requests for any chunk".
"""

import re
from array import array
from collections.abc import Callable, Hashable, Iterator
from itertools import chain, islice
from random import Random
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield

__all__ = ["Buckets", "RarestFirst"]

PROBES = 8  # random tries in a bucket, before all chunks are searched
MAX_LOOKS = 4096  # chunks searched for one of level 0
MAX_CANDIDATES = 256  # chunks returned by one search
_ABSENT = -1
_NOT_EMPTY = re.compile(rb"[^\x00]")

P = TypeVar("P", bound=Hashable)


class Buckets:
    """Hold a set of chunks, out of `count`, each with a level from 0 up.

    Chunks outside the set have a level, too. Moving a chunk to another level, removing
    one and picking a random one of the lowest level take constant time.
    """

    def __init__(self, count: int) -> None:
        self._level = array("l", bytes(array("l").itemsize * count))
        self._place = array("l", [_ABSENT]) * count
        self._buckets: list[list[int]] = [[]]
        self._bits = bytearray(-(-count // 8))  # the set, as in a Bitfield
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, index: int) -> bool:
        return self._place[index] != _ABSENT

    def level(self, index: int) -> int:
        """Return the level of a chunk, in the set or not."""
        return self._level[index]

    def size_of(self, level: int) -> int:
        """Return how many chunks of the set have this level."""
        return len(self._buckets[level]) if level < len(self._buckets) else 0

    def one_of(self, level: int) -> int | None:
        """Return a chunk of the set that has this level, or None."""
        return self._buckets[level][0] if self.size_of(level) else None

    def add(self, index: int) -> None:
        """Add a chunk to the set, unless it is in it."""
        if self._place[index] != _ABSENT:
            return
        bucket = self._buckets[self._level[index]]
        self._place[index] = len(bucket)
        bucket.append(index)
        self._bits[index >> 3] |= 0x80 >> (index & 7)
        self._size += 1

    def discard(self, index: int) -> None:
        """Remove a chunk from the set, if it is in it."""
        place = self._place[index]
        if place == _ABSENT:
            return
        bucket = self._buckets[self._level[index]]
        last = bucket.pop()
        if last != index:
            bucket[place] = last
            self._place[last] = place
        self._place[index] = _ABSENT
        self._bits[index >> 3] &= ~(0x80 >> (index & 7))
        self._size -= 1

    def shift(self, index: int, change: int) -> None:
        """Change the level of a chunk by `change`."""
        is_member = self._place[index] != _ABSENT
        if is_member:
            self.discard(index)
        level = self._level[index] = self._level[index] + change
        while len(self._buckets) <= level:
            self._buckets.append([])
        if is_member:
            self.add(index)

    def probe(self, rng: Random, accepts: Callable[[int], bool]) -> int | None:
        """Return a chunk that `accepts`, of about the lowest possible level, or None.

        Only a few random chunks of each level are tried, so None does not mean that
        there is no such chunk; `candidates` finds it then.
        """
        for bucket in self._buckets:
            size = len(bucket)
            for _ in range(min(PROBES, size)):
                index = bucket[int(rng.random() * size)]
                if accepts(index):
                    return index
        return None

    def find_unseen(self, rng: Random, accepts: Callable[[int], bool]) -> int | None:
        """Return a chunk of level 0 that `accepts`, or None, after a limited search.

        The search begins at a random chunk.
        """
        bucket = self._buckets[0]
        start = int(rng.random() * len(bucket))
        for place in range(start, start + min(len(bucket), MAX_LOOKS)):
            index = bucket[place % len(bucket)]
            if accepts(index):
                return index
        return None

    def candidates(self, rng: Random, among: bytes) -> list[int]:
        """Return chunks of the set that are in the bitfield `among`.

        There are at most `MAX_CANDIDATES` of them, one of the lowest level last.
        """
        both = int.from_bytes(among, "big") & int.from_bytes(self._bits, "big")
        indexes = _indexes(both.to_bytes(len(self._bits), "big"), rng)
        found = list(islice(indexes, MAX_CANDIDATES))
        rng.shuffle(found)
        found.sort(key=self._level.__getitem__, reverse=True)
        return found


class RarestFirst(Buckets, Generic[P]):
    """Hold the chunks that we can send; the level of each is its copies among peers.

    Peers that joined with every chunk are not counted: they have one copy of each, and
    request none.
    """

    def __init__(self, have: Bitfield, rng: Random) -> None:
        """Begin with the chunks in `have`."""
        super().__init__(have.size)
        self._rng = rng
        self._count = have.size
        for index in have:
            self.add(index)
        self._peers: dict[P, Bitfield] = {}  # announced
        self._sent: dict[P, set[int]] = {}  # and not announced

    def on_peer_joined(self, peer: P, have: Bitfield) -> None:
        """Note a peer and the chunks that it has announced."""
        self.on_peer_left(peer)
        if have.is_complete:
            return
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
            self.shift(index, 1)

    def on_sent(self, peer: P, index: int) -> None:
        """Note a chunk that is sent to a peer, whichever side chose it."""
        sent = self._sent.get(peer)
        if sent is not None and index not in sent and index not in self._peers[peer]:
            sent.add(index)
            self.shift(index, 1)

    def on_peer_left(self, peer: P) -> None:
        """Forget a peer and the copies it has."""
        announced = self._peers.pop(peer, None)
        for index in announced or ():
            self.shift(index, -1)
        for index in self._sent.pop(peer, ()):
            self.shift(index, -1)

    def next_for(self, peer: P, wanted: Bitfield | None = None) -> int | None:
        """Return the rarest chunk that a peer is missing; it counts as sent.

        Without `wanted`, the peer wants every chunk.
        """
        if peer not in self._peers:
            return None
        announced, sent = self._peers[peer], self._sent[peer]

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
        """Search all missing chunks of a peer that has nearly everything it wants."""
        among = Bitfield.full(self._count) if wanted is None else wanted
        both = int.from_bytes(bytes(among), "big")
        both &= ~int.from_bytes(bytes(announced), "big")
        missing = bytearray(both.to_bytes(len(self._bits), "big"))
        for index in sent:
            missing[index >> 3] &= ~(0x80 >> (index & 7))
        found = self.candidates(self._rng, bytes(missing))
        return found[-1] if found else None


def _indexes(bits: bytes, rng: Random) -> Iterator[int]:
    """Yield the indexes in a bitfield that may be nearly empty.

    They begin at a random one, so that the first few are not always the same.
    """
    start = int(rng.random() * len(bits))
    for match in chain(
        _NOT_EMPTY.finditer(bits, start), _NOT_EMPTY.finditer(bits, 0, start)
    ):
        byte = bits[match.start()]
        while byte:
            bit = 8 - byte.bit_length()
            yield match.start() * 8 + bit
            byte &= ~(0x80 >> bit)
