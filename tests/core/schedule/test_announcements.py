"""Whom a holder tells of what came: all of few, a few of many, none what it has."""

from collections.abc import Sequence

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.announcements import (
    ANNOUNCE_PAUSE,
    FEW_PEERS,
    FULL_PAUSE,
    MAX_RECEIVERS,
    REQUEST_TIME,
    Announcements,
)

COUNT = 64
MANY = FEW_PEERS + 4


class Holder:
    """A holder that gets chunks, among peers that announce some."""

    def __init__(self, peers: int) -> None:
        self.have = Bitfield(COUNT)
        self.theirs = {peer: Bitfield(COUNT) for peer in range(peers)}
        self.news: Announcements[int] = Announcements(self.have, self.theirs.get)
        for peer in range(peers):
            self.news.on_peer_joined(peer)
        self.now = 100.0

    def get(self, *indexes: int) -> None:
        for index in indexes:
            self.have.add(index)
            self.news.on_chunk(index)

    def tell(self, after: float = 0.0) -> dict[int, Sequence[int]]:
        self.now += after
        return {peer: list(news) for peer, news in self.news.due(self.now)}


def test_few_peers_are_told_of_the_first_chunk_at_once_and_of_the_next_together() -> (
    None
):
    holder = Holder(3)
    holder.get(5)
    assert holder.tell() == {0: [5], 1: [5], 2: [5]}
    holder.get(6)
    holder.get(7)
    assert holder.tell() == {}
    due = holder.news.due_at(holder.now)
    assert due == holder.now + ANNOUNCE_PAUSE
    assert holder.tell(ANNOUNCE_PAUSE) == {0: [6, 7], 1: [6, 7], 2: [6, 7]}
    assert holder.news.due_at(holder.now) is None


def test_no_peer_is_told_of_chunks_that_it_has() -> None:
    holder = Holder(3)
    holder.theirs[1].add(5)
    holder.get(5)
    assert holder.tell() == {0: [5], 2: [5]}


def test_a_complete_peer_is_told_of_every_chunk() -> None:
    holder = Holder(2)
    holder.theirs[1] = Bitfield.full(COUNT)
    holder.get(5)
    assert holder.tell()[1] == [5]
    holder.get(6)
    assert holder.tell(ANNOUNCE_PAUSE)[1] == [6]


def test_several_complete_peers_are_told_less_often() -> None:
    holder = Holder(3)
    holder.theirs[0] = holder.theirs[1] = Bitfield.full(COUNT)
    holder.get(5)
    assert set(holder.tell()) == {0, 1, 2}
    for index in (6, 7):
        holder.get(index)
        said = holder.tell(FULL_PAUSE)
        assert said == {peer: [index] for peer in range(3)}
    holder.get(8)
    assert holder.tell(ANNOUNCE_PAUSE) == {2: [8]}
    due = holder.news.due_at(holder.now)
    assert due == holder.now + FULL_PAUSE - ANNOUNCE_PAUSE
    holder.get(*range(9, COUNT), *range(5))
    assert set(holder.tell()) == {0, 1, 2}, "nobody hears that it is complete"


def test_a_node_that_completes_announces_all_chunks_to_all_peers() -> None:
    holder = Holder(2)
    holder.theirs[1].add(0)
    holder.get(*range(COUNT - 1))
    holder.tell()
    holder.get(COUNT - 1)
    assert holder.tell() == {peer: list(range(COUNT)) for peer in range(2)}


def test_of_many_peers_a_few_are_told_at_a_time() -> None:
    holder = Holder(MANY)
    holder.get(5)
    first = list(holder.tell())
    assert len(first) == MAX_RECEIVERS
    for peer in first:
        holder.news.on_receiving(peer)
    assert holder.tell(10 * REQUEST_TIME) == {}
    assert holder.news.on_served(first[0])
    assert len(holder.tell()) == 1
    assert not holder.news.on_served(first[0])


def test_a_peer_that_sends_no_request_loses_its_turn() -> None:
    holder = Holder(MANY)
    holder.get(5)
    told = set(holder.tell())
    while len(told) < MANY:
        due = holder.news.due_at(holder.now)
        assert due is not None
        more = set(holder.tell(due - holder.now))
        assert more
        assert not more & told
        told |= more
    assert holder.news.due_at(holder.now + REQUEST_TIME) is None


def test_a_peer_that_left_takes_no_turn() -> None:
    holder = Holder(MANY + MAX_RECEIVERS)
    holder.get(5)
    for peer in holder.tell():
        holder.news.on_receiving(peer)
        holder.news.on_peer_left(peer)
    assert len(holder.tell()) == MAX_RECEIVERS


def test_a_receiving_peer_is_told_when_no_other_waits() -> None:
    holder = Holder(MANY)
    holder.get(5)
    holder.news.on_receiving(3)
    told: list[int] = []
    while len(told) < MANY:
        told += holder.tell(REQUEST_TIME)
    assert told[-1] == 3
