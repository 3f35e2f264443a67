"""Peers that join, leave and announce cost no Python code for each chunk."""

import sys
import tracemalloc
from collections.abc import Callable
from random import Random
from types import FrameType
from typing import Any

import pytest

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.schedule import buckets as module
from shoal.core.schedule.buckets import Buckets
from shoal.core.schedule.picker import ChunkPicker
from shoal.core.schedule.rarest import RarestFirst
from shoal.core.schedule.scheduler import Scheduler

MANY = 65_536  # chunks
LINES = 2_000  # of Python, far fewer than chunks
LISTED = 64 * 1024  # bytes, far fewer than a list of the chunks has


def lines_of(work: Callable[[], object]) -> int:
    """Return how many lines of Python a call runs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def random_chunks(count: int, rng: Random) -> Bitfield:
    return Bitfield.of((i for i in range(count) if rng.random() < 0.5), count)


def test_no_line_of_python_runs_for_each_chunk_of_a_peer() -> None:
    rng = Random(1)
    full, have = Bitfield.full(MANY), random_chunks(MANY, rng)
    rest = full.without(have)
    rarest: RarestFirst[int] = RarestFirst(full, rng)
    scheduler: Scheduler[int] = Scheduler(Chunks(MANY, 1), Bitfield(MANY), rng)
    # One join first: tables are made when they are first used.
    for peer in range(2):
        steps: list[Callable[[], object]] = [
            lambda: rarest.on_peer_joined(0, have),
            lambda: scheduler.add(0, have.copy()),
            lambda: rarest.next_for(0),
            lambda: scheduler.next_requests(0, 1, 0.0),
            lambda: rarest.on_have_all(0, rest),
            lambda: scheduler.on_have(0, rest),
            lambda: rarest.on_peer_left(0),
            lambda: scheduler.remove(0),
        ]
        counts = [lines_of(step) for step in steps]
        if peer:
            assert max(counts) < LINES, counts


def test_a_share_of_many_chunks_starts_without_python_for_each() -> None:
    rng = Random(2)
    full, none = Bitfield.full(MANY), Bitfield(MANY)
    assert lines_of(lambda: RarestFirst[int](full, rng)) < LINES
    assert lines_of(lambda: ChunkPicker[int](none, rng)) < LINES


def test_the_first_choice_after_a_join_lists_no_chunks() -> None:
    rng = Random(3)
    rarest: RarestFirst[int] = RarestFirst(Bitfield.full(MANY), rng)
    picker: ChunkPicker[int] = ChunkPicker(Bitfield(MANY), rng)
    have = random_chunks(MANY, rng)
    rarest.on_peer_joined(0, have)
    picker.on_peer_joined(0, have)
    tracemalloc.start()
    try:
        assert rarest.next_for(0) is not None
        assert picker.next_requests(0, 1)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < LISTED, most


def test_a_join_takes_little_memory_beside_that_of_the_levels() -> None:
    many = 32 * MANY
    have = Bitfield.from_bytes(b"\xaa" * (many // 8), many)
    buckets = Buckets(many, Bitfield.full(many))
    buckets.shift_all(have, 1)  # the table of `_spread_bytes` is made once
    tracemalloc.start()
    try:
        buckets.shift_all(have, 1)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    levels = 2 * many  # bytes
    assert most < 6 * levels, most


class Model:
    """What `Buckets` should hold, kept in the plainest way."""

    def __init__(self, count: int) -> None:
        self.levels = [0] * count
        self.members: set[int] = set()


@pytest.mark.parametrize("seed", range(30))
def test_levels_and_members_are_those_of_a_plain_model(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(seed)
    monkeypatch.setattr(module, "SLICE", rng.choice([1, 3, 65_536]))
    count = rng.choice([1, 7, 8, 9, 64, 300, 3000])
    buckets, model = Buckets(count), Model(count)
    peers: list[Bitfield] = []
    for _ in range(200):
        index = rng.randrange(count)
        match rng.randrange(6):
            case 0:
                buckets.add(index)
                model.members.add(index)
            case 1:
                buckets.discard(index)
                model.members.discard(index)
            case 2:
                buckets.shift(index, 1)
                model.levels[index] += 1
            case 3:
                peers.append(random_chunks(count, rng))
                buckets.shift_all(peers[-1], 1)
                for each in peers[-1]:
                    model.levels[each] += 1
            case 4 if peers:
                gone = peers.pop(rng.randrange(len(peers)))
                buckets.shift_all(gone, -1)
                for each in gone:
                    model.levels[each] -= 1
            case 5:
                check(buckets, model, rng)
    check(buckets, model, rng)


def check(buckets: Buckets, model: Model, rng: Random) -> None:
    """Compare all that can be asked."""
    assert len(buckets) == len(model.members)
    for index, level in enumerate(model.levels):
        assert buckets.level(index) == level
        assert (index in buckets) == (index in model.members)
    of_level: dict[int, set[int]] = {}
    for index in model.members:
        of_level.setdefault(model.levels[index], set()).add(index)
    for level in range(max(model.levels) + 2):
        members = of_level.get(level, set())
        assert buckets.size_of(level) == len(members)
        assert (buckets.one_of(level) in members) if members else True
    probed = buckets.probe(rng, lambda index: True)
    assert (probed in of_level[min(of_level)]) if of_level else probed is None


@pytest.mark.parametrize("seed", range(10))
def test_chunks_announced_together_count_as_those_announced_one_by_one(
    seed: int,
) -> None:
    rng = Random(seed)
    count = 500
    own, first, rest = (random_chunks(count, rng) for _ in range(3))
    pickers = [ChunkPicker[int](own.copy(), Random(seed)) for _ in range(2)]
    rarests = [RarestFirst[int](own.copy(), Random(seed)) for _ in range(2)]
    for picker, rarest in zip(pickers, rarests, strict=True):
        picker.on_peer_joined(0, first.copy())
        rarest.on_peer_joined(0, first)
        for index in range(20):
            rarest.on_sent(0, index)
    is_free = [pickers[0].on_have(0, index) for index in rest]
    assert pickers[1].on_have_all(0, rest) == any(is_free)
    for index in rest:
        rarests[0].on_have(0, index)
    rarests[1].on_have_all(0, rest)
    for one, other in ((pickers[0].free, pickers[1].free), rarests):
        assert [one.level(i) for i in range(count)] == [
            other.level(i) for i in range(count)
        ]
    for one, other in zip(rarests[:1], rarests[1:], strict=True):
        one.on_peer_left(0)
        other.on_peer_left(0)
        assert not any(other.level(i) for i in range(count))
        assert not any(one.level(i) for i in range(count))


def test_runs_are_added_as_single_chunks_are() -> None:
    rng = Random(3)
    for _ in range(200):
        count = rng.randrange(1, 100)
        one, other = random_chunks(count, rng), Bitfield(count)
        other.add_all(one)
        runs, end = [], 0
        while end < count and rng.random() < 0.9:
            first = rng.randrange(end, count)
            number = rng.randrange(1, count - first + 1)
            runs.append((first, number))
            end = first + number
        fresh = [i for run in runs for i in one.add_run(*run)]
        assert list(other.add_runs(runs)) == fresh
        assert one == other
        assert one.count == other.count == sum(1 for _ in other)
    with pytest.raises(IndexError):
        Bitfield(8).add_runs([(7, 2)])
