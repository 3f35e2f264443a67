"""Compare the chunk picker with a naive model."""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.picker import MAX_COPIES, ChunkPicker

# With 300 chunks, random tries rarely find what one peer has.
COUNT = st.integers(0, 60) | st.just(300)
PEER = st.integers(0, 5)


class Model(RuleBasedStateMachine):
    """Do anything to a picker, and check everything that it returns."""

    @initialize(count=COUNT, seed=st.integers(0, 99), have=st.sets(st.integers(0, 59)))
    def begin(self, count: int, seed: int, have: set[int]) -> None:
        field = Bitfield(count)
        for index in have:
            if index < count:
                field.add(index)
        self.all = set(range(count))
        self.verified = set(field)
        self.arrived: set[int] = set()
        self.asked: dict[int, set[int]] = {}  # by peer
        self.has: dict[int, set[int]] = {}
        self.is_full: dict[int, bool] = {}
        self.field = field
        self.picker: ChunkPicker[int] = ChunkPicker(field, Random(seed))

    # The model.

    def in_flight(self) -> set[int]:
        return set().union(*self.asked.values()) if self.asked else set()

    def free(self) -> set[int]:
        """Return the chunks that were not requested and have not arrived."""
        return self.all - self.verified - self.arrived - self.in_flight()

    def rarity(self, index: int) -> int:
        """Count the partial peers that have a chunk."""
        return sum(
            index in self.has[peer] for peer in self.has if not self.is_full[peer]
        )

    # Peers.

    @rule(peer=PEER, is_full=st.booleans(), have=st.sets(st.integers(0, 59)))
    def join(self, peer: int, is_full: bool, have: set[int]) -> None:
        if peer in self.has:
            return
        have &= self.all
        field = Bitfield(len(self.all))
        for index in have:
            field.add(index)
        self.picker.on_peer_joined(peer, None if is_full else field)
        self.has[peer] = self.all if is_full else have
        self.is_full[peer] = is_full
        self.asked[peer] = set()

    @rule(peer=PEER)
    def leave(self, peer: int) -> None:
        self.picker.on_peer_left(peer)  # even one that never joined
        for each in (self.has, self.asked, self.is_full):
            each.pop(peer, None)

    @rule(peer=PEER, index=st.integers(0, 59))
    def tell_have(self, peer: int, index: int) -> None:
        if peer in self.has and index in self.all:
            self.picker.on_have(peer, index)
            self.has[peer] = self.has[peer] | {index}

    # Requests.

    @rule(
        peer=PEER,
        limit=st.integers(0, 9),
        copies=st.sets(st.integers(0, 59)) | st.just(set(range(300))),
    )
    def ask(self, peer: int, limit: int, copies: set[int]) -> None:
        if peer not in self.has:
            return
        free, flying = self.free(), self.in_flight()
        picked = self.picker.next_requests(peer, limit, copies=copies)
        assert len(picked) <= limit
        assert len(set(picked)) == len(picked)
        for index in picked:
            assert index in self.has[peer]
            assert index not in self.verified | self.arrived | self.asked[peer]
            if index in free:
                self._check_rarest(peer, index, free)
                free.discard(index)
            else:
                assert index in copies
                assert index in flying
                assert not free
                holders = [p for p in self.asked if index in self.asked[p]]
                assert len(holders) < MAX_COPIES
            self.asked[peer].add(index)
        if len(picked) < limit:
            assert not free & self.has[peer], "there was more to request"

    def _check_rarest(self, peer: int, index: int, free: set[int]) -> None:
        """Check the order that is guaranteed for a peer with everything."""
        if self.is_full[peer]:
            assert self.rarity(index) == min(map(self.rarity, free))

    @rule(peer=PEER, pick=st.randoms(use_true_random=False))
    def answer(self, peer: int, pick: Random) -> None:
        if asked := sorted(self.asked.get(peer, ())):
            self._arrive(pick.choice(asked), peer)

    @rule(peer=PEER, index=st.integers(0, 59))
    def answer_late(self, peer: int, index: int) -> None:
        """Send a chunk whose request expired, or that was never requested here."""
        if index in self.all:
            self._arrive(index, peer)

    def _arrive(self, index: int, peer: int) -> None:
        is_news = index not in self.verified | self.arrived
        assert self.picker.on_chunk_arrived(index, peer) is is_news
        self.asked.get(peer, set()).discard(index)
        if is_news:
            self.arrived.add(index)

    @precondition(lambda self: self.arrived)
    @rule(is_right=st.booleans(), pick=st.randoms(use_true_random=False))
    def judge(self, is_right: bool, pick: Random) -> None:
        index = pick.choice(sorted(self.arrived))
        self.arrived.discard(index)
        if not is_right:
            self.picker.on_chunk_failed(index)
            return
        still_asked = {peer for peer in self.asked if index in self.asked[peer]}
        assert set(self.picker.on_chunk_verified(index)) == still_asked
        self.verified.add(index)
        for asked in self.asked.values():
            asked.discard(index)

    @rule(peer=PEER, pick=st.randoms(use_true_random=False))
    def expire(self, peer: int, pick: Random) -> None:
        if asked := sorted(self.asked.get(peer, ())):
            index = pick.choice(asked)
            self.picker.on_request_expired(index, peer)
            self.asked[peer].discard(index)

    # Invariants.

    @invariant()
    def the_requests_are_known(self) -> None:
        for peer, asked in getattr(self, "asked", {}).items():
            assert self.picker.requested_from(peer) == asked

    @invariant()
    def it_is_complete_when_every_chunk_is_verified(self) -> None:
        if hasattr(self, "picker"):
            assert (not self.picker.left) is (self.verified == self.all)
            assert set(self.field) == self.verified

    def teardown(self) -> None:
        """Let all peers leave except an honest one, which must send the rest."""
        if not hasattr(self, "picker"):
            return
        for peer in list(self.has):
            self.leave(peer)
        for index in sorted(self.arrived):
            self.picker.on_chunk_failed(index)
        self.picker.on_peer_joined("honest", None)  # type: ignore[arg-type]
        for index in self.picker.next_requests("honest", 999):  # type: ignore[arg-type]
            assert self.picker.on_chunk_arrived(index, "honest")  # type: ignore[arg-type]
            self.picker.on_chunk_verified(index)
        assert not self.picker.left


TestPicker = Model.TestCase
TestPicker.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)


class CountingRandom(Random):
    """Count the random numbers that are drawn."""

    def __init__(self) -> None:
        super().__init__(1)
        self.draws = 0

    def random(self) -> float:
        self.draws += 1
        return super().random()


class CountingBitfield(Bitfield):
    """Count the look-ups of chunks."""

    looks = 0

    def __contains__(self, index: int) -> bool:
        CountingBitfield.looks += 1
        return super().__contains__(index)


def _work_per_chunk(count: int) -> float:
    """Fetch everything from a complete and a partial peer; return steps per chunk."""
    rng = CountingRandom()
    picker: ChunkPicker[str] = ChunkPicker(Bitfield(count), rng)
    half = CountingBitfield(count)
    for index in range(0, count, 2):
        half.add(index)
    CountingBitfield.looks = 0
    picker.on_peer_joined("half", half)
    picker.on_peer_joined("full", None)
    while picker.left:
        for peer in ("half", "full"):
            for index in picker.next_requests(peer, 4):
                picker.on_chunk_arrived(index, peer)
                picker.on_chunk_verified(index)
    return (rng.draws + CountingBitfield.looks) / count


def test_a_pick_costs_the_same_however_many_chunks_there_are() -> None:
    assert _work_per_chunk(32_000) < 2 * _work_per_chunk(500) + 5


def test_only_the_wanted_chunks_are_requested() -> None:
    have = Bitfield(10)
    have.add(3)
    picker: ChunkPicker[str] = ChunkPicker(have, Random(1), wanted=[5, 3])
    picker.on_peer_joined("a", None)
    assert picker.next_requests("a", 9) == [5]
    picker.add_wanted([7, 6, 5])
    assert picker.next_requests("a", 9, copies=range(50)) == [7, 6]
    for index in (5, 6, 7):
        assert picker.left
        picker.on_chunk_arrived(index, "a")
        picker.on_chunk_verified(index)
    assert not picker.left
    assert picker.next_requests("a", 9, copies=range(50)) == []


def test_wanted_chunks_are_requested_in_their_order() -> None:
    picker: ChunkPicker[str] = ChunkPicker(Bitfield(50), Random(1), first=[49, 7])
    some = Bitfield(50)
    for index in (7, 1):
        some.add(index)
    picker.on_peer_joined("some", some)
    picker.on_peer_joined("all", None)
    assert picker.next_requests("some", 1) == [7]
    assert picker.next_requests("all", 1) == [49]
    assert picker.free.size_of(0) == 47


def test_the_chunk_requested_longest_ago_is_copied_first() -> None:
    picker: ChunkPicker[str] = ChunkPicker(Bitfield(3), Random(1))
    for peer in ("slow", "fast", "third"):
        picker.on_peer_joined(peer, None)
    order = picker.next_requests("slow", 3)
    assert picker.next_requests("fast", 2) == []
    assert picker.next_requests("fast", 2, copies=range(50)) == order[:2]
    assert picker.next_requests("third", 3, copies=range(50)) == order[2:]
    picker.on_peer_left("slow")
    assert picker.next_requests("fast", 3, copies=range(50)) == order[2:]


def test_a_peer_with_no_free_chunk_is_asked_for_the_next_it_gets() -> None:
    picker: ChunkPicker[str] = ChunkPicker(Bitfield(9), Random(1))
    picker.on_peer_joined("poor", Bitfield(9))
    assert picker.next_requests("poor", 1) == []
    picker.on_have("poor", 4)
    assert picker.next_requests("poor", 1) == [4]


def reading(have: Bitfield | None = None) -> ChunkPicker[int]:
    """Return the picker of a reader, with one complete peer."""
    have = Bitfield(10) if have is None else have
    picker: ChunkPicker[int] = ChunkPicker(have, Random(3), wanted=())
    picker.on_peer_joined(1, None)
    return picker


def test_a_chunk_added_before_all_others_is_requested_first() -> None:
    picker = reading()
    picker.add_wanted([1, 2])
    picker.add_wanted([7, 8], before=True)
    picker.add_wanted([2], before=True)
    assert picker.next_requests(1, 9) == [2, 7, 8, 1]
    assert not picker.free


def test_a_removed_chunk_is_not_requested() -> None:
    picker = reading()
    picker.add_wanted([1, 2, 3])
    assert picker.next_requests(1, 1) == [1]
    assert picker.remove_wanted([1, 2, 9]) == {1: [1], 2: []}
    assert picker.next_requests(1, 9) == [3]
    assert picker.requested_from(1) == {3}


def test_a_chunk_that_arrives_after_it_was_removed_is_accepted() -> None:
    picker = reading()
    picker.add_wanted([1])
    picker.next_requests(1, 1)
    picker.remove_wanted([1])
    assert picker.on_chunk_arrived(1, 1)
    picker.on_chunk_verified(1)
    assert not picker.left


def test_a_chunk_that_has_arrived_stays_wanted() -> None:
    picker = reading()
    picker.add_wanted([1])
    picker.next_requests(1, 1)
    picker.on_chunk_arrived(1, 1)
    assert picker.remove_wanted([1]) == {}
    assert picker.left


def test_a_forgotten_chunk_can_be_wanted_again() -> None:
    have = Bitfield(10)
    picker = reading(have)
    for _ in range(2):
        picker.add_wanted([4])
        assert picker.next_requests(1, 9) == [4]
        assert picker.on_chunk_arrived(4, 1)
        picker.on_chunk_verified(4)
        assert not picker.left
        picker.forget(4)
        assert 4 not in have
        assert picker.next_requests(1, 9) == []


def test_a_forgotten_chunk_has_its_present_rarity() -> None:
    picker = reading()
    picker.on_peer_joined(1, None)
    picker.add_wanted([4])
    assert picker.next_requests(1, 9) == [4]
    picker.on_chunk_arrived(4, 1)
    picker.on_chunk_verified(4)
    had = Bitfield(10)
    had.add(4)
    picker.on_peer_joined(2, had)
    picker.on_peer_joined(3, Bitfield(10))
    picker.on_have(3, 4)
    picker.forget(4)
    picker.on_peer_left(2)
    picker.on_peer_left(3)
    picker.add_wanted([4])
    assert picker.free.size_of(0) == 1
    assert picker.next_requests(1, 9) == [4]
