"""Count how many peers have each chunk, and choose which one to send; pure.

For a share of very many chunks, counting a peer takes as long as a second, and any
number may arrive. So `CountedBuckets` counts them slice by slice, as chunks are chosen:
a peer that arrives costs nothing until then, and one that leaves at once nothing at
all. Until all are counted, a choice is only about the rarest.

A downloader requests the rarest chunk first, and a source sends the rarest first. A
node that has everything knows what every peer has announced and which chunks are on
their way to each. `RarestFirst` sends the chunk that the fewest peers have, so it sends
no chunk twice before every chunk has been sent once. Downloaders that each choose for
themselves cannot agree on that. docs/protocol.md, "Requests for any chunk".
"""

from collections import OrderedDict
from collections.abc import Hashable
from random import Random
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.buckets import SLICE, Buckets

__all__ = ["CountedBuckets", "RarestFirst"]

AT_ONCE = 64 * 1024  # bytes of a bitfield up to which a peer is counted on arrival
PICKS = 8  # choices of a chunk for each slice that is counted, which takes about 3 ms
PART = 64 * 1024  # bytes of a bitfield that are searched together
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
