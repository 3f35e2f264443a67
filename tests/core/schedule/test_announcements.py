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


def test_few_hear_of_the_first_at_once_and_of_the_next_together() -> None:
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


def test_nobody_hears_of_what_it_has_itself() -> None:
    holder = Holder(3)
    holder.theirs[1].add(5)
    holder.get(5)
    assert holder.tell() == {0: [5], 2: [5]}


def test_who_has_everything_hears_of_all_that_comes() -> None:
    holder = Holder(2)
    holder.theirs[1] = Bitfield.full(COUNT)
    holder.get(5)
    assert holder.tell()[1] == [5]
    holder.get(6)
    assert holder.tell(ANNOUNCE_PAUSE)[1] == [6]


def test_several_who_have_everything_are_in_no_hurry() -> None:
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


def test_who_completes_says_so_to_all_even_of_what_they_had() -> None:
    holder = Holder(2)
    holder.theirs[1].add(0)
    holder.get(*range(COUNT - 1))
    holder.tell()
    holder.get(COUNT - 1)
    assert holder.tell() == {peer: list(range(COUNT)) for peer in range(2)}


def test_of_many_a_few_hear_at_a_time_and_the_next_once_one_is_served() -> None:
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


def test_who_does_not_ask_for_what_it_heard_of_gives_its_turn_to_others() -> None:
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


def test_a_peer_that_left_takes_nobodys_turn() -> None:
    holder = Holder(MANY + MAX_RECEIVERS)
    holder.get(5)
    for peer in holder.tell():
        holder.news.on_receiving(peer)
        holder.news.on_peer_left(peer)
    assert len(holder.tell()) == MAX_RECEIVERS


def test_who_takes_something_is_told_when_nobody_else_waits_for_a_turn() -> None:
    holder = Holder(MANY)
    holder.get(5)
    holder.news.on_receiving(3)
    told: list[int] = []
    while len(told) < MANY:
        told += holder.tell(REQUEST_TIME)
    assert told[-1] == 3
