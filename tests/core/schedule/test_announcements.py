"""Check which peers are told of new chunks, and when."""

from collections.abc import Sequence

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.announcements import (
    ANNOUNCE_PAUSE,
    FEW_PEERS,
    FIRST_RECEIVERS,
    FULL_PAUSE,
    MAX_RECEIVERS,
    MIN_RECEIVERS,
    REQUEST_TIME,
    SERVING_TIME,
    Announcements,
)

COUNT = 64
MANY = FEW_PEERS + 4


class Node:
    """Get chunks, among peers that announce some."""

    def __init__(self, peers: int) -> None:
        self.have = Bitfield(COUNT)
        self.announced = {peer: Bitfield(COUNT) for peer in range(peers)}
        self.ranks: dict[int, float] = {}
        self.announcements: Announcements[int] = Announcements(
            self.have, self.announced.get, lambda peer: self.ranks.get(peer, 0.0)
        )
        for peer in range(peers):
            self.announcements.on_peer_joined(peer)
        self.now = 100.0

    def get(self, *indexes: int) -> None:
        for index in indexes:
            self.have.add(index)
            self.announcements.on_chunks([index])

    def tell(self, after: float = 0.0) -> dict[int, Sequence[int]]:
        self.now += after
        return {peer: list(chunks) for peer, chunks in self.announcements.due(self.now)}


def test_few_peers_are_told_of_the_first_chunk_at_once_and_of_the_next_together() -> (
    None
):
    node = Node(3)
    node.get(5)
    assert node.tell() == {0: [5], 1: [5], 2: [5]}
    node.get(6)
    node.get(7)
    assert node.tell() == {}
    due = node.announcements.due_at(node.now)
    assert due == node.now + ANNOUNCE_PAUSE
    assert node.tell(ANNOUNCE_PAUSE) == {0: [6, 7], 1: [6, 7], 2: [6, 7]}
    assert node.announcements.due_at(node.now) is None


def test_no_peer_is_told_of_chunks_that_it_has() -> None:
    node = Node(3)
    node.announced[1].add(5)
    node.get(5)
    assert node.tell() == {0: [5], 2: [5]}


def test_a_complete_peer_is_told_of_every_chunk() -> None:
    node = Node(2)
    node.announced[1] = Bitfield.full(COUNT)
    node.get(5)
    assert node.tell()[1] == [5]
    node.get(6)
    assert node.tell(ANNOUNCE_PAUSE)[1] == [6]


def test_several_complete_peers_are_told_less_often() -> None:
    node = Node(3)
    node.announced[0] = node.announced[1] = Bitfield.full(COUNT)
    node.get(5)
    assert set(node.tell()) == {0, 1, 2}
    for index in (6, 7):
        node.get(index)
        said = node.tell(FULL_PAUSE)
        assert said == {peer: [index] for peer in range(3)}
    node.get(8)
    assert node.tell(ANNOUNCE_PAUSE) == {2: [8]}
    due = node.announcements.due_at(node.now)
    assert due == node.now + FULL_PAUSE - ANNOUNCE_PAUSE
    node.get(*range(9, COUNT), *range(5))
    assert set(node.tell()) == {0, 1, 2}, "no peer is told that the node is complete"


def test_a_node_that_completes_announces_all_chunks_to_all_peers() -> None:
    node = Node(2)
    node.announced[1].add(0)
    node.get(*range(COUNT - 1))
    node.tell()
    node.get(COUNT - 1)
    assert node.tell() == {peer: list(range(COUNT)) for peer in range(2)}


def test_of_many_peers_a_few_are_told_at_a_time() -> None:
    node = Node(MANY)
    node.get(5)
    first = list(node.tell())
    assert len(first) == FIRST_RECEIVERS
    for peer in first:
        node.announcements.on_receiving(peer, node.now)
    begun = node.now
    assert node.tell(10 * REQUEST_TIME) == {}
    # Serving it took as long as expected of a few.
    node.now = begun + SERVING_TIME / FIRST_RECEIVERS
    assert node.announcements.on_served(first[0], node.now)
    assert len(node.tell()) == 1
    assert not node.announcements.on_served(first[0], node.now)


def test_a_peer_that_sends_no_request_loses_its_turn() -> None:
    node = Node(MANY)
    node.get(5)
    told = set(node.tell())
    while len(told) < MANY:
        due = node.announcements.due_at(node.now)
        assert due is not None
        more = set(node.tell(due - node.now))
        assert more
        assert not more & told
        told |= more
    assert node.announcements.due_at(node.now + REQUEST_TIME) is None


def test_a_peer_that_left_takes_no_turn() -> None:
    node = Node(MANY + FIRST_RECEIVERS)
    node.get(5)
    for peer in node.tell():
        node.announcements.on_receiving(peer, node.now)
        node.announcements.on_peer_left(peer)
    assert len(node.tell()) == FIRST_RECEIVERS


def test_a_receiving_peer_is_told_when_no_other_waits() -> None:
    node = Node(MANY)
    node.get(5)
    node.announcements.on_receiving(3, node.now)
    told: list[int] = []
    while len(told) < MANY:
        told += node.tell(REQUEST_TIME)
    assert told[-1] == 3


def serve_each(node: Node, peers: list[int], seconds: float) -> None:
    """Let each of `peers` wait for a chunk and be served `seconds` after the last."""
    for peer in peers:
        node.announcements.on_receiving(peer, node.now)
    for peer in peers:
        node.now += seconds
        node.announcements.on_served(peer, node.now)


def test_the_faster_a_node_serves_the_more_peers_it_tells_at_a_time() -> None:
    for seconds, expected in [
        (SERVING_TIME, MIN_RECEIVERS),
        (SERVING_TIME / 5, 5),
        (SERVING_TIME / 1000, MAX_RECEIVERS),
    ]:
        node = Node(3 * MAX_RECEIVERS)
        serve_each(node, list(range(4)), seconds * 0.99)
        node.get(5)
        assert len(node.tell()) == expected


def test_time_without_anyone_waiting_does_not_count_as_serving() -> None:
    node = Node(3 * MAX_RECEIVERS)
    for peer in range(4):
        node.now += 100
        serve_each(node, [peer], SERVING_TIME / 1000)
    node.get(5)
    assert len(node.tell()) == MAX_RECEIVERS


def test_time_after_a_waiting_peer_left_does_not_count_as_serving() -> None:
    node = Node(3 * MAX_RECEIVERS)
    node.announcements.on_receiving(0, node.now)
    node.announcements.on_peer_left(0)
    node.now += 100
    serve_each(node, [1, 2], SERVING_TIME / 1000)
    node.get(5)
    assert len(node.tell()) == MAX_RECEIVERS


def test_peers_that_pass_on_more_are_told_earlier() -> None:
    node = Node(MANY)
    node.ranks = {MANY - 1: 2.0, MANY - 2: 1.0}
    node.get(5)
    assert list(node.tell()) == [0, MANY - 1, MANY - 2]
    assert list(node.tell(REQUEST_TIME)) == [1, 2, 3]
