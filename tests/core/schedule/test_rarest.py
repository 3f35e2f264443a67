"""What "any chunk" is: never what the asker has, always the rarest, against a model."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.rarest import RarestFirst

MOST = 12
INDEX = st.integers(0, MOST - 1)
PEER = st.integers(0, 2)


def field(count: int, indexes: set[int]) -> Bitfield:
    made = Bitfield(count)
    for index in indexes:
        made.add(index)
    return made


class Model(RuleBasedStateMachine):
    """Do to a spread whatever may happen, and check what it chooses."""

    @initialize(
        count=st.integers(1, MOST), have=st.sets(INDEX), seed=st.integers(0, 99)
    )
    def begin(self, count: int, have: set[int], seed: int) -> None:
        self.count = count
        self.have = {index for index in have if index < count}
        self.announced: dict[int, set[int]] = {}
        self.given: dict[int, set[int]] = {}
        self.spread: RarestFirst[int] = RarestFirst(
            field(count, self.have), Random(seed)
        )

    def copies(self, index: int) -> int:
        return sum(
            index in self.announced[p] or index in self.given[p] for p in self.announced
        )

    @rule(peer=PEER, have=st.sets(INDEX))
    def join(self, peer: int, have: set[int]) -> None:
        have = {index for index in have if index < self.count}
        self.spread.on_peer_joined(peer, field(self.count, have))
        if len(have) < self.count:
            self.announced[peer], self.given[peer] = have, set()
        else:  # it has one copy of each chunk, and requests none
            self.leave(peer)

    @rule(peer=PEER)
    def leave(self, peer: int) -> None:
        self.spread.on_peer_left(peer)
        self.announced.pop(peer, None)
        self.given.pop(peer, None)

    @rule(peer=PEER, index=INDEX)
    def tell_have(self, peer: int, index: int) -> None:
        if index < self.count:
            self.spread.on_have(peer, index)
            if peer in self.announced:
                self.announced[peer].add(index)
                self.given[peer].discard(index)

    @rule(peer=PEER, index=INDEX)
    def was_given(self, peer: int, index: int) -> None:
        if index < self.count:
            self.spread.on_sent(peer, index)
            if peer in self.given and index not in self.announced[peer]:
                self.given[peer].add(index)

    @rule(index=INDEX)
    def verify(self, index: int) -> None:
        if index < self.count:
            self.spread.add(index)
            self.have.add(index)

    @rule(peer=PEER)
    def choose(self, peer: int) -> None:
        chosen = self.spread.next_for(peer)
        if peer not in self.announced:
            assert chosen is None
            return
        lacking = self.have - self.announced[peer] - self.given[peer]
        if not lacking:
            assert chosen is None
            return
        assert chosen in lacking
        # A bucket of up to eight is not always seen whole, so "about" the rarest; but
        # what nobody else lacks either is seen.
        if lacking == self.have:
            assert self.copies(chosen) == min(map(self.copies, lacking))
        self.given[peer].add(chosen)

    @invariant()
    def counts_every_copy(self) -> None:
        for index in range(self.count):
            assert self.spread.level(index) == self.copies(index)


TestModel = Model.TestCase
TestModel.settings = settings(deadline=None)


@given(st.integers(1, 300), st.integers(1, 6), st.integers(0, 99))
def test_every_chunk_is_sent_once_before_any_is_sent_twice(
    count: int, peers: int, seed: int
) -> None:
    spread: RarestFirst[int] = RarestFirst(Bitfield.full(count), Random(seed))
    for peer in range(peers):
        spread.on_peer_joined(peer, Bitfield(count))
    order = Random(seed)
    given: list[int] = []
    # However uneven the peers are, unless one has had everything.
    while len(given) < count:
        chosen = spread.next_for(order.randrange(peers))
        assert chosen is not None
        given.append(chosen)
    assert sorted(given) == list(range(count))


def test_a_chunk_that_others_announced_is_sent_last() -> None:
    spread: RarestFirst[str] = RarestFirst(Bitfield.full(4), Random(1))
    spread.on_peer_joined("all but one", field(4, {0, 1, 3}))
    assert spread.next_for("all but one") == 2
    assert spread.next_for("all but one") is None


def test_the_copies_of_a_peer_that_left_do_not_count() -> None:
    spread: RarestFirst[str] = RarestFirst(Bitfield.full(2), Random(1))
    spread.on_peer_joined("a", field(2, {0}))
    spread.on_peer_joined("b", field(2, {1}))
    spread.on_peer_joined("c", field(2, {1}))
    spread.on_peer_joined("new", Bitfield(2))
    spread.on_peer_left("b")
    spread.on_peer_left("c")
    # Chunk 1 is the rarest by now.
    assert spread.next_for("new") == 1


def test_a_chunk_that_was_sent_and_announced_counts_once() -> None:
    spread: RarestFirst[str] = RarestFirst(Bitfield.full(1), Random(1))
    spread.on_peer_joined("x", Bitfield(1))
    assert spread.next_for("x") == 0
    spread.on_have("x", 0)
    assert spread.level(0) == 1
    spread.on_peer_left("x")
    assert spread.level(0) == 0


def test_the_last_chunk_of_a_large_share_is_found() -> None:
    count = 20_000
    everything = set(range(count))
    spread: RarestFirst[str] = RarestFirst(Bitfield.full(count), Random(1))
    spread.on_peer_joined("x", field(count, everything - {777, 19_999}))
    # As rare as all others, so that trying a few does not find them.
    spread.on_peer_joined("y", field(count, {777, 19_999}))
    found = {spread.next_for("x"), spread.next_for("x")}
    assert found == {777, 19_999}
    assert spread.next_for("x") is None


def test_chunks_that_this_node_does_not_have_are_never_sent() -> None:
    spread: RarestFirst[str] = RarestFirst(field(9, {4}), Random(1))
    spread.on_peer_joined("x", Bitfield(9))
    assert spread.next_for("x") == 4
    assert spread.next_for("x") is None
    spread.add(8)
    assert spread.next_for("x") == 8
