"""One source and N leechers in a simulation: no sockets, no clock, no luck.

What decides is real: `ChunkPicker`, `Spread`, `RequestWindow` and `Buckets`. Who asks
whom when is written down here once more, as `Transfer._ask` and `_ask_any` have it,
since `Transfer` itself verifies and writes in threads. Every uplink takes one unit of
time per chunk and serves who asks of it in turn; requests and `have` arrive after
`DELAY`, and downlinks are as wide as it takes.
"""

import heapq
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from shoal.core.chunks import Bitfield
from shoal.core.picker import ChunkPicker
from shoal.core.spread import Spread
from shoal.core.window import TARGET_DELAY, RequestWindow

CHUNKS = 384
CHUNK_SIZE = 64 * 1024
CHUNK_TIME = 0.0131  # seconds; 64 KiB at 40 Mbit/s
DELAY = 0.0005  # seconds; half a round trip on a LAN
ANNOUNCE = 0.05  # seconds in which chunks are announced together
TICK = 0.25  # seconds
ANY_PAUSE = 3.0  # seconds
MAX_WANTED = 64


class Clock:
    """Do things in the order of their time, and of equals in the order they came."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, action))

    def run(self, is_over: Callable[[], bool], until: float) -> None:
        while not is_over():
            self.now, _, action = heapq.heappop(self._due)
            assert self.now < until, "the swarm does not come to an end"
            action()


class Flow:
    """What a node asked of one other, as in `transfer._Flow`."""

    def __init__(self, *, is_full: bool) -> None:
        self.window = RequestWindow(CHUNK_SIZE, MAX_WANTED)
        self.is_full = is_full
        self.any_keys: deque[int] = deque()
        self.any_from = 0.0


class Node:
    """Leech and give on, or give from the start."""

    def __init__(self, clock: Clock, rng: Random, *, is_source: bool) -> None:
        self.clock = clock
        self.have = Bitfield.full(CHUNKS) if is_source else Bitfield(CHUNKS)
        self.spread: Spread[Node] = Spread(self.have, rng)
        self.picker: ChunkPicker[Node] = ChunkPicker(
            Bitfield.from_bytes(bytes(self.have), CHUNKS), rng, first=[CHUNKS - 1]
        )
        self.flows: dict[Node, Flow] = {}
        self.sent = 0
        self.wasted = 0
        self.finished: float | None = 0.0 if is_source else None
        self._turns: deque[Node] = deque()
        self._wanted: dict[Node, deque[int | None]] = {}
        self._is_sending = False
        self._fresh: list[int] = []
        self._next_key = -1

    def meet(self, other: "Node") -> None:
        """Know another node as a giver and as a taker."""
        self._wanted[other] = deque()
        self.spread.on_peer_joined(other, other.have)
        is_full = other.have.is_complete
        self.flows[other] = Flow(is_full=is_full)
        self.picker.on_peer_joined(other, None if is_full else Bitfield(CHUNKS))

    # Leeching, as in Transfer.

    def ask(self, giver: "Node", *, copies: bool = False) -> None:
        flow = self.flows[giver]
        limit = flow.window.room()
        if limit <= 0:
            return
        full = sum(f.is_full for f in self.flows.values())
        if flow.is_full and full == 1 and self.clock.now >= flow.any_from:
            number = min(limit, self.picker.unseen - len(flow.any_keys))
            keys = range(self._next_key, self._next_key - max(0, number), -1)
            self._next_key -= len(keys)
            flow.any_keys.extend(keys)
            flow.window.on_sent(keys, self.clock.now)
            for _ in keys:
                self.clock.later(DELAY, partial(giver.on_asked, self, None))
            if flow.any_keys:
                return
        indexes = self.picker.next_requests(giver, limit, copies=copies)
        flow.window.on_sent(indexes, self.clock.now)
        for index in indexes:
            self.clock.later(DELAY, partial(giver.on_asked, self, index))

    def on_chunk(self, giver: "Node", index: int, was_any: bool) -> None:
        flow = self.flows[giver]
        key = flow.any_keys.popleft() if was_any else index
        flow.window.on_heard(self.clock.now)
        flow.window.on_answer(key, self.clock.now)
        if self.picker.on_chunk_arrived(index, giver):
            flow.window.on_right()
            for other in self.picker.on_chunk_verified(index):
                self.flows[other].window.forget(index)
                self.clock.later(DELAY, partial(other.on_cancelled, self, index))
            self.have.add(index)
            self.spread.on_chunk(index)
            if not self._fresh:
                self.clock.later(ANNOUNCE, self.announce)
            self._fresh.append(index)
            if self.picker.is_complete:
                self.finished = self.clock.now
        else:
            self.wasted += 1
        self.ask_all()

    def on_nothing(self, giver: "Node") -> None:
        """Note that a giver has nothing to choose: all of it is announced."""
        flow = self.flows[giver]
        flow.window.on_refused(flow.any_keys.popleft())
        flow.any_from = self.clock.now + ANY_PAUSE
        self.ask(giver)

    def announce(self) -> None:
        fresh, self._fresh = self._fresh, []
        for other in self.flows:
            self.clock.later(DELAY, partial(other.on_have, self, fresh))

    def on_have(self, giver: "Node", indexes: list[int]) -> None:
        for index in indexes:
            self.spread.on_have(giver, index)
            self.picker.on_have(giver, index)
        self.ask(giver)

    def on_tick(self) -> None:
        for giver, flow in self.flows.items():
            if flow.window.check_stalled(self.clock.now):
                flow.any_keys.clear()
                for index in self.picker.asked_of(giver):
                    self.picker.on_request_expired(index, giver)
        self.ask_all(copies=True)
        self.clock.later(TICK, self.on_tick)

    def ask_all(self, *, copies: bool = False) -> None:
        if not self.picker.is_complete:
            for giver in self.flows:
                self.ask(giver, copies=copies)

    # Giving, as in Uploader and SealedPeer.

    def on_asked(self, taker: "Node", index: int | None) -> None:
        if not self._wanted[taker]:
            self._turns.append(taker)
        self._wanted[taker].append(index)
        assert len(self._wanted[taker]) <= MAX_WANTED
        self._send_next()

    def on_cancelled(self, taker: "Node", index: int) -> None:
        if index in self._wanted[taker]:
            self._wanted[taker].remove(index)
            if not self._wanted[taker]:
                self._turns.remove(taker)

    def _send_next(self) -> None:
        if self._is_sending or not self._turns:
            return
        taker = self._turns.popleft()
        asked = self._wanted[taker].popleft()
        if self._wanted[taker]:
            self._turns.append(taker)
        index = self.spread.next_for(taker) if asked is None else asked
        if index is None:
            self.clock.later(DELAY, partial(taker.on_nothing, self))
            self._send_next()
            return
        self.spread.on_given(taker, index)
        self._is_sending = True
        self.sent += 1
        arrives = partial(taker.on_chunk, self, index, asked is None)
        self.clock.later(CHUNK_TIME + DELAY, arrives)
        self.clock.later(CHUNK_TIME, self._sent_one)

    def _sent_one(self) -> None:
        self._is_sending = False
        self._send_next()


def simulate(leechers: int, seed: int) -> tuple[list[Node], list[tuple[float, int]]]:
    """Let everyone have everything; return the nodes and when each had it."""
    clock, rng = Clock(), Random(seed)
    nodes = [Node(clock, rng, is_source=not n) for n in range(leechers + 1)]
    for node in nodes:
        for other in rng.sample(nodes, len(nodes)):
            if other is not node:
                node.meet(other)
    for node in nodes[1:]:
        # Those who are started at once do not ask at the same moment.
        clock.later(rng.random() * 0.01, node.ask_all)
        clock.later(rng.random() * TICK, node.on_tick)
    clock.run(
        lambda: all(node.finished is not None for node in nodes),
        until=20 * CHUNKS * CHUNK_TIME,
    )
    return nodes, [(node.finished or 0.0, node.sent) for node in nodes]


def bound(leechers: int) -> float:
    """Return the least time in which all of a fluid could be everywhere."""
    one = CHUNKS * CHUNK_TIME
    return max(one, leechers * one / (1 + leechers))


@pytest.mark.parametrize(
    ("leechers", "seed"), [(8, 1), (8, 2), (8, 3), (16, 1), (16, 2), (40, 1)]
)
def test_all_have_everything_soon_and_the_source_sends_hardly_more_than_once(
    leechers: int, seed: int
) -> None:
    nodes, outcome = simulate(leechers, seed)
    assert all(node.have.is_complete for node in nodes)
    source = nodes[0]
    assert source.sent <= 1.10 * CHUNKS
    assert max(when for when, _ in outcome) <= 1.15 * bound(leechers)
    # Every leecher gives on, and hardly anything comes twice.
    assert all(node.sent > CHUNKS / 4 for node in nodes[1:])
    assert sum(node.wasted for node in nodes) <= 0.02 * CHUNKS * leechers


def test_the_same_seed_has_the_same_outcome_and_another_has_not() -> None:
    first, again, other = (simulate(8, seed)[1] for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_one_leecher_takes_as_long_as_the_source_needs() -> None:
    nodes, outcome = simulate(1, 1)
    assert nodes[0].sent == CHUNKS
    assert outcome[1][0] <= 1.02 * CHUNKS * CHUNK_TIME + TARGET_DELAY
