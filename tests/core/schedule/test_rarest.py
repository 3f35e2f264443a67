"""Compare the choice of the rarest chunk with a model."""

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
    """Do anything to a `RarestFirst`, and check its choices."""

    @initialize(
        count=st.integers(1, MOST), have=st.sets(INDEX), seed=st.integers(0, 99)
    )
    def begin(self, count: int, have: set[int], seed: int) -> None:
        self.count = count
        self.have = {index for index in have if index < count}
        self.announced: dict[int, set[int]] = {}
        self.sent: dict[int, set[int]] = {}
        self.rarest: RarestFirst[int] = RarestFirst(
            field(count, self.have), Random(seed)
        )

    def copies(self, index: int) -> int:
        return sum(
            index in self.announced[p] or index in self.sent[p] for p in self.announced
        )

    @rule(peer=PEER, have=st.sets(INDEX))
    def join(self, peer: int, have: set[int]) -> None:
        have = {index for index in have if index < self.count}
        self.rarest.on_peer_joined(peer, field(self.count, have))
        if len(have) < self.count:
            self.announced[peer], self.sent[peer] = have, set()
        else:  # it has one copy of each chunk, and requests none
            self.leave(peer)

    @rule(peer=PEER)
    def leave(self, peer: int) -> None:
        self.rarest.on_peer_left(peer)
        self.announced.pop(peer, None)
        self.sent.pop(peer, None)

    @rule(peer=PEER, index=INDEX)
    def announce(self, peer: int, index: int) -> None:
        if index < self.count:
            self.rarest.on_have(peer, index)
            if peer in self.announced:
                self.announced[peer].add(index)
                self.sent[peer].discard(index)

    @rule(peer=PEER, index=INDEX)
    def send(self, peer: int, index: int) -> None:
        if index < self.count:
            self.rarest.on_sent(peer, index)
            if peer in self.sent and index not in self.announced[peer]:
                self.sent[peer].add(index)

    @rule(index=INDEX)
    def verify(self, index: int) -> None:
        if index < self.count:
            self.rarest.add(index)
            self.have.add(index)

    @rule(peer=PEER)
    def choose(self, peer: int) -> None:
        chosen = self.rarest.next_for(peer)
        if peer not in self.announced:
            assert chosen is None
            return
        missing = self.have - self.announced[peer] - self.sent[peer]
        if not missing:
            assert chosen is None
            return
        assert chosen in missing
        # Of a bucket with up to eight chunks not all are tried, so the choice is about
        # the rarest. It is the rarest if the peer has no chunk.
        if missing == self.have:
            assert self.copies(chosen) == min(map(self.copies, missing))
        self.sent[peer].add(chosen)

    @invariant()
    def counts_every_copy(self) -> None:
        for index in range(self.count):
            assert self.rarest.level(index) == self.copies(index)


TestModel = Model.TestCase
TestModel.settings = settings(deadline=None)


@given(st.integers(1, 300), st.integers(1, 6), st.integers(0, 99))
def test_every_chunk_is_sent_once_before_any_is_sent_twice(
    count: int, peers: int, seed: int
) -> None:
    rarest: RarestFirst[int] = RarestFirst(Bitfield.full(count), Random(seed))
    for peer in range(peers):
        rarest.on_peer_joined(peer, Bitfield(count))
    order = Random(seed)
    sent: list[int] = []
    # However unevenly the peers receive, unless one has everything.
    while len(sent) < count:
        chosen = rarest.next_for(order.randrange(peers))
        assert chosen is not None
        sent.append(chosen)
    assert sorted(sent) == list(range(count))


@settings(deadline=None)
@given(
    st.integers(1, 300), st.sets(st.integers(0, 299), max_size=40), st.integers(0, 9)
)
def test_only_wanted_chunks_are_sent_and_each_once_before_any_twice(
    count: int, chosen: set[int], seed: int
) -> None:
    rarest: RarestFirst[int] = RarestFirst(Bitfield.full(count), Random(seed))
    indexes = {index for index in chosen if index < count}
    for peer in range(3):
        rarest.on_peer_joined(peer, Bitfield(count))
    wanted, order = field(count, indexes), Random(seed)
    sent: list[int] = []
    while len(sent) < len(indexes):
        index = rarest.next_for(order.randrange(3), wanted)
        assert index is not None
        sent.append(index)
    assert set(sent) == indexes
    # Each peer gets the rest, and nothing that it does not want.
    for peer in range(3):
        while (index := rarest.next_for(peer, wanted)) is not None:
            sent.append(index)
    assert sorted(sent) == sorted(3 * list(indexes))


def test_a_chunk_that_others_announced_is_sent_last() -> None:
    rarest: RarestFirst[str] = RarestFirst(Bitfield.full(4), Random(1))
    rarest.on_peer_joined("all but one", field(4, {0, 1, 3}))
    assert rarest.next_for("all but one") == 2
    assert rarest.next_for("all but one") is None


def test_the_copies_of_a_peer_that_left_do_not_count() -> None:
    rarest: RarestFirst[str] = RarestFirst(Bitfield.full(2), Random(1))
    rarest.on_peer_joined("a", field(2, {0}))
    rarest.on_peer_joined("b", field(2, {1}))
    rarest.on_peer_joined("c", field(2, {1}))
    rarest.on_peer_joined("new", Bitfield(2))
    rarest.on_peer_left("b")
    rarest.on_peer_left("c")
    # Chunk 1 is the rarest by now.
    assert rarest.next_for("new") == 1


def test_a_chunk_that_was_sent_and_announced_counts_once() -> None:
    rarest: RarestFirst[str] = RarestFirst(Bitfield.full(1), Random(1))
    rarest.on_peer_joined("x", Bitfield(1))
    assert rarest.next_for("x") == 0
    rarest.on_have("x", 0)
    assert rarest.level(0) == 1
    rarest.on_peer_left("x")
    assert rarest.level(0) == 0


def test_the_last_chunk_of_a_large_share_is_found() -> None:
    count = 20_000
    everything = set(range(count))
    rarest: RarestFirst[str] = RarestFirst(Bitfield.full(count), Random(1))
    rarest.on_peer_joined("x", field(count, everything - {777, 19_999}))
    # They are as rare as all others, so random tries do not find them.
    rarest.on_peer_joined("y", field(count, {777, 19_999}))
    found = {rarest.next_for("x"), rarest.next_for("x")}
    assert found == {777, 19_999}
    assert rarest.next_for("x") is None


def test_chunks_that_this_node_does_not_have_are_never_sent() -> None:
    rarest: RarestFirst[str] = RarestFirst(field(9, {4}), Random(1))
    rarest.on_peer_joined("x", Bitfield(9))
    assert rarest.next_for("x") == 4
    assert rarest.next_for("x") is None
    rarest.add(8)
    assert rarest.next_for("x") == 8
