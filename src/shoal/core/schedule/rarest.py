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
from functools import cache
from itertools import chain, islice
from random import Random
from typing import Generic, Literal, TypeVar

from shoal.core.manifest.chunks import Bitfield

__all__ = ["Buckets", "RarestFirst"]

PROBES = 8  # random tries in a level, before all chunks are searched
SPARE = 64  # chunks of a list that may have left its level
SPARSE = 32  # chunks for each one of a level, above which the level is listed
QUICK_LIST = 16_384  # chunks of a share, up to which a level is always listed
TRIES = 4  # random chunks that are tried, before the next one of a level is searched
MAX_LOOKS = 4096  # chunks of a level searched for one
MAX_CANDIDATES = 256  # chunks returned by one search
SLICE = 64 * 1024  # bytes of a bitfield that are added to levels at once
_ORDER: Literal["little", "big"] = "little" if array("H", [1]).tobytes()[0] else "big"
_NOT_EMPTY = re.compile(rb"[^\x00]")

P = TypeVar("P", bound=Hashable)


class Buckets:
    """Hold a set of chunks, out of `count`, each with a level from 0 up.

    Chunks outside the set have a level, too. The set is a bitfield for each level.
    Moving one chunk to another level, removing one and picking a random one of the
    lowest level take about constant time. Moving all chunks of a peer takes a few
    operations on whole bitfields, and no Python code for each chunk.
    """

    def __init__(self, count: int, members: Bitfield | None = None) -> None:
        """Begin with the set `members`, all at level 0."""
        members = members or Bitfield(count)
        self._count = count
        self._level = array("H", bytes(2 * count))
        self._bits = bytearray(bytes(members))  # the set, as in a Bitfield
        # The part of the set at each level; it may be empty where there is none.
        self._at = [bytearray(self._bits)]
        self._sizes = [len(members)]
        self._size = len(members)
        # All chunks of a level, and some that have left it since, to choose from.
        self._listed: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return self._size

    def __contains__(self, index: int) -> bool:
        return self._bits[index >> 3] & (0x80 >> (index & 7)) != 0

    def level(self, index: int) -> int:
        """Return the level of a chunk, in the set or not."""
        return self._level[index]

    def size_of(self, level: int) -> int:
        """Return how many chunks of the set have this level."""
        return self._sizes[level] if level < len(self._sizes) else 0

    def one_of(self, level: int) -> int | None:
        """Return a chunk of the set that has this level, or None."""
        if not self.size_of(level):
            return None
        return next(_indexes(self._at[level], 0))

    def add(self, index: int) -> None:
        """Add a chunk to the set, unless it is in it."""
        byte, mask = index >> 3, 0x80 >> (index & 7)
        if not self._bits[byte] & mask:
            self._bits[byte] |= mask
            self._size += 1
            self._enter(self._level[index], index)

    def discard(self, index: int) -> None:
        """Remove a chunk from the set, if it is in it."""
        byte, mask = index >> 3, 0x80 >> (index & 7)
        if self._bits[byte] & mask:
            self._bits[byte] &= ~mask
            self._size -= 1
            self._leave(self._level[index], index)

    def shift(self, index: int, change: int) -> None:
        """Change the level of a chunk by `change`."""
        level = self._level[index]
        self._level[index] = level + change
        if index in self:
            self._leave(level, index)
            self._enter(level + change, index)

    def shift_all(self, chunks: Bitfield, change: int) -> None:
        """Change the levels of all these chunks by `change`, which is 1 or -1."""
        if not chunks.count:
            return
        _add_lanes(self._level, bytes(chunks), change)
        bits = int.from_bytes(bytes(chunks), "big")
        levels = range(len(self._sizes))
        coming = 0  # the chunks that move to the next level from the one before it
        for level in levels if change > 0 else reversed(levels):
            coming = self._exchange(level, bits, coming)
        if coming and change > 0:
            self._exchange(len(levels), 0, coming)

    def _exchange(self, level: int, leaving: int, coming: int) -> int:
        """Take chunks out of one level and add others; return those taken out.

        Each level is read and written once, however many levels there are.
        """
        if not coming and not (level < len(self._sizes) and self._sizes[level]):
            return 0
        self._grow(level)
        here = int.from_bytes(self._at[level], "big")
        taken = here & leaving
        if taken or coming:
            here = (here ^ taken) | coming
            size = len(self._bits) if here else 0
            self._at[level] = bytearray(here.to_bytes(size, "big"))
            self._sizes[level] = here.bit_count()
        if coming:
            self._listed.pop(level, None)
        return taken

    def _grow(self, level: int) -> None:
        while len(self._sizes) <= level:
            self._sizes.append(0)
            self._at.append(bytearray())

    def _enter(self, level: int, index: int) -> None:
        self._grow(level)
        if not self._at[level]:
            self._at[level] = bytearray(len(self._bits))
        self._at[level][index >> 3] |= 0x80 >> (index & 7)
        self._sizes[level] += 1
        listed = self._listed.get(level)
        if listed is not None:
            listed.append(index)
            if len(listed) > 2 * self._sizes[level] + SPARE:
                del self._listed[level]

    def _leave(self, level: int, index: int) -> None:
        self._at[level][index >> 3] &= ~(0x80 >> (index & 7))
        self._sizes[level] -= 1

    def probe(self, rng: Random, accepts: Callable[[int], bool]) -> int | None:
        """Return a chunk that `accepts`, of about the lowest possible level, or None.

        Only a few random chunks of each level are tried, so None does not mean that
        there is no such chunk; `candidates` finds it then.
        """
        for level, size in enumerate(self._sizes):
            if not size:
                continue
            for index in self._random_ones(level, min(PROBES, size), rng):
                if accepts(index):
                    return index
        return None

    def _random_ones(self, level: int, number: int, rng: Random) -> Iterator[int]:
        """Yield up to `number` random chunks of a level; one may come twice.

        In a level with many chunks, random bits are tried: to list all of its chunks
        takes milliseconds, and each peer that joins would make the list void.
        """
        at, count = self._at[level], self._count
        if count > QUICK_LIST and self._sizes[level] * SPARSE >= count:
            for _ in range(number):
                yield self._random_one(at, rng)
            return
        listed = self._listing(level)
        while number:
            place = int(rng.random() * len(listed))
            index = listed[place]
            if at[index >> 3] & (0x80 >> (index & 7)):
                yield index
                number -= 1
            else:
                listed[place] = listed[-1]  # it has left this level
                listed.pop()

    def _random_one(self, at: bytearray, rng: Random) -> int:
        """Return a random chunk of a level that has many."""
        index = 0
        for _ in range(TRIES):
            index = int(rng.random() * self._count)
            if at[index >> 3] & (0x80 >> (index & 7)):
                return index
        return next(_indexes(at, index >> 3))

    def _listing(self, level: int) -> list[int]:
        """Return the list for a level, of which at least half are still there."""
        listed, size = self._listed.get(level), self._sizes[level]
        if listed is None or len(listed) > 2 * size + SPARE:
            listed = self._listed[level] = list(_indexes(self._at[level], 0))
        return listed

    def find(
        self, rng: Random, accepts: Callable[[int], bool], *, is_seen: bool
    ) -> int | None:
        """Return a chunk of level 0 that `accepts`, or None, after a limited search.

        With `is_seen`, search the other levels too. The search of each level begins at
        a random chunk.
        """
        start = int(rng.random() * len(self._bits))
        for at in self._at if is_seen else self._at[:1]:
            index = next(filter(accepts, islice(_indexes(at, start), MAX_LOOKS)), None)
            if index is not None:
                return index
        return None

    def has_any_in(self, indexes: range) -> bool:
        """Return True if one of these adjacent chunks is in the set."""
        first, end = -(-indexes.start // 8), indexes.stop // 8
        if first >= end:
            return any(index in self for index in indexes)
        edges = (*range(indexes.start, first * 8), *range(end * 8, indexes.stop))
        is_inside = _NOT_EMPTY.search(self._bits, first, end) is not None
        return is_inside or any(index in self for index in edges)

    def has_any(self, chunks: Bitfield) -> bool:
        """Return True if one of these chunks is in the set."""
        bits = int.from_bytes(bytes(chunks), "big")
        return bits & int.from_bytes(self._bits, "big") != 0

    def candidates(self, rng: Random, among: bytes) -> list[int]:
        """Return chunks of the set that are in the bitfield `among`.

        There are at most `MAX_CANDIDATES` of them, one of the lowest level last.
        """
        both = int.from_bytes(among, "big") & int.from_bytes(self._bits, "big")
        start = int(rng.random() * len(self._bits))
        indexes = _indexes(both.to_bytes(len(self._bits), "big"), start)
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
        super().__init__(have.size, have)
        self._rng = rng
        self._peers: dict[P, Bitfield] = {}  # announced
        self._sent: dict[P, set[int]] = {}  # and not announced

    def on_peer_joined(self, peer: P, have: Bitfield) -> None:
        """Note a peer and the chunks that it has announced."""
        self.on_peer_left(peer)
        if have.is_complete:
            return
        self._peers[peer] = have.copy()
        self._sent[peer] = set()
        self.shift_all(have, 1)

    def on_have(self, peer: P, index: int) -> None:
        """Note that a peer announced a chunk."""
        announced = self._peers.get(peer)
        if announced is None or not announced.add(index):
            return
        if index in self._sent[peer]:
            self._sent[peer].discard(index)
        else:
            self.shift(index, 1)

    def on_have_all(self, peer: P, chunks: Bitfield) -> None:
        """Note that a peer announced many chunks at once."""
        announced = self._peers.get(peer)
        if announced is None:
            return
        fresh = chunks.without(announced)
        announced.add_all(fresh)
        # Their copies are counted already.
        counted = [index for index in self._sent[peer] if index in fresh]
        self._sent[peer].difference_update(counted)
        for index in counted:
            fresh.discard(index)
        self.shift_all(fresh, 1)

    def on_sent(self, peer: P, index: int) -> None:
        """Note a chunk that is sent to a peer, whichever side chose it."""
        sent = self._sent.get(peer)
        if sent is not None and index not in sent and index not in self._peers[peer]:
            sent.add(index)
            self.shift(index, 1)

    def on_peer_left(self, peer: P) -> None:
        """Forget a peer and the copies it has."""
        announced = self._peers.pop(peer, None)
        if announced is not None:
            self.shift_all(announced, -1)
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


def _indexes(bits: bytes | bytearray, start: int) -> Iterator[int]:
    """Yield the indexes in a bitfield that may be nearly empty.

    They begin at the byte `start`; with a random one, the first few are not always the
    same.
    """
    for match in chain(
        _NOT_EMPTY.finditer(bits, start), _NOT_EMPTY.finditer(bits, 0, start)
    ):
        byte = bits[match.start()]
        while byte:
            bit = 8 - byte.bit_length()
            yield match.start() * 8 + bit
            byte &= ~(0x80 >> bit)


def _add_lanes(levels: "array[int]", bits: bytes, change: int) -> None:
    """Change 16-bit levels by 1 or -1 for each chunk in a bitfield.

    Those of a slice are added as one number. No level is negative or reaches 65,536, so
    nothing is carried from one to the next. A slice limits the memory, which is a
    hundred times that of its bits.
    """
    for start in range(0, len(bits), SLICE):
        part = bits[start : start + SLICE]
        if part.count(0) == len(part):
            continue
        lanes = levels[8 * start : 8 * (start + SLICE)]
        size = lanes.itemsize * len(lanes)
        number = int.from_bytes(lanes, _ORDER)
        number += change * int.from_bytes(_spread(part)[:size], _ORDER)
        changed = array("H", number.to_bytes(size, _ORDER))
        levels[8 * start : 8 * start + len(lanes)] = changed


def _spread(bits: bytes) -> bytes:
    """Return the bits of a bitfield as 16-bit numbers."""
    return b"".join(map(_spread_bytes().__getitem__, bits))


@cache
def _spread_bytes() -> list[bytes]:
    """Return for each value of a byte its bits as eight 16-bit numbers."""
    return [
        array("H", [byte >> 7 - bit & 1 for bit in range(8)]).tobytes()
        for byte in range(256)
    ]
