"""Count in how many peers have each chunk what they announce, at a limited cost; pure.

For a share of very many chunks, counting a peer takes as long as a second, and any
number may arrive. So they are counted slice by slice, as chunks are chosen: a peer that
arrives costs nothing until then, and one that leaves at once nothing at all. Until all
are counted, a choice is only about the rarest.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.buckets import SLICE, Buckets

__all__ = ["CountedBuckets"]

AT_ONCE = 64 * 1024  # bytes of a bitfield up to which a peer is counted on arrival
PICKS = 8  # choices of a chunk for each slice that is counted, which takes about 3 ms
EMPTY_SLICES = 32  # slices without a change that are passed over at once

P = TypeVar("P", bound=Hashable)


class _Announced:
    """What one peer has announced, and which of it is counted."""

    __slots__ = ("counted", "due", "have")

    def __init__(self, have: Bitfield) -> None:
        self.have: Bitfield | None = have  # None once the peer has left
        self.counted: bytearray | None = None  # as in a Bitfield; None: nothing
        self.due: set[int] = set()  # slices in which they may differ


class CountedBuckets(Buckets, Generic[P]):
    """Hold chunks whose level is the number of peers that have announced each."""

    def __init__(self, count: int, members: Bitfield | None = None) -> None:
        """Begin with the set `members`, and no peers."""
        super().__init__(count, members)
        self._peers: dict[P, _Announced] = {}
        # Peers with slices that are due; those that have left come first.
        self._due: OrderedDict[_Announced, None] = OrderedDict()
        self._picks = 0
        self._slices = 0  # that peers are counted in; 0: at once
        if len(self._bits) > AT_ONCE:
            self._slices = -(-len(self._bits) // SLICE)

    def count_peer(self, peer: P, have: Bitfield) -> None:
        """Count a new peer; the caller adds to `have` what it announces later."""
        self._peers[peer] = announced = _Announced(have)
        if self._slices:
            self._put_off(announced)
        else:
            self.shift_all(have, 1)

    def count_have(self, peer: P, index: int, *, is_counted: bool = False) -> None:
        """Count a chunk that a peer has now; `is_counted` if its level is right."""
        byte, mask = index >> 3, 0x80 >> (index & 7)
        announced = self._peers[peer]
        if not self._slices:
            if not is_counted:
                self.shift(index, 1)
        elif is_counted or byte // SLICE not in announced.due:
            if announced.counted is None:
                announced.counted = bytearray(len(self._bits))
            announced.counted[byte] |= mask
            if not is_counted:
                self.shift(index, 1)

    def count_all(self, peer: P, fresh: Bitfield) -> None:
        """Count many chunks that a peer has now, and had not before."""
        if self._slices:
            self._put_off(self._peers[peer])
        else:
            self.shift_all(fresh, 1)

    def uncount_peer(self, peer: P) -> None:
        """Count a peer no more; one that is unknown is ignored."""
        announced = self._peers.pop(peer, None)
        if announced is None or announced.have is None:
            return
        if not self._slices:
            self.shift_all(announced.have, -1)
            return
        announced.have = None
        if announced.counted is None:
            self._due.pop(announced, None)
        else:
            self._put_off(announced)
            # So no more than the peers that were connected at a time ever wait here.
            self._due.move_to_end(announced, last=False)

    def note_pick(self) -> None:
        """Note that a chunk is chosen: count a slice now and then."""
        self._picks += 1
        if self._due and self._picks % PICKS == 0:
            self.count_slice()

    def count_slice(self) -> bool:
        """Count a slice of a peer; return False if nothing is left to count."""
        for _ in range(EMPTY_SLICES):
            announced = next(iter(self._due), None)
            if announced is None:
                return False
            is_changed = self._count_part(announced, announced.due.pop())
            if not announced.due:
                del self._due[announced]
            if is_changed:
                break
        return bool(self._due)

    def _put_off(self, announced: _Announced) -> None:
        announced.due = set(range(self._slices))
        self._due[announced] = None

    def _count_part(self, announced: _Announced, number: int) -> bool:
        """Let one slice count what a peer has; return False if that is no change."""
        start = number * SLICE
        part = slice(start, min(start + SLICE, len(self._bits)))
        size, have, counted = part.stop - start, 0, 0
        if announced.have is not None:
            have = int.from_bytes(announced.have.part(part), "big")
        if announced.counted is not None:
            counted = int.from_bytes(announced.counted[part], "big")
        if have == counted:
            return False
        for bits, change in ((have & ~counted, 1), (counted & ~have, -1)):
            if bits:
                self.shift_part(part, bits.to_bytes(size, "big"), change)
        if announced.counted is None:
            announced.counted = bytearray(len(self._bits))
        announced.counted[part] = have.to_bytes(size, "big")
        return True
