"""Peers of a share with very many chunks are counted a slice at a time."""

from random import Random

import pytest

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule import rarest as module
from shoal.core.schedule.picker import ChunkPicker
from shoal.core.schedule.rarest import CountedBuckets, RarestFirst

COUNT = 1000  # chunks
SLICE = 16  # bytes


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", SLICE)
    monkeypatch.setattr(module, "AT_ONCE", 32)


def some(rng: Random) -> Bitfield:
    return Bitfield.of((i for i in range(COUNT) if rng.random() < 0.5), COUNT)


def finish(buckets: CountedBuckets[int]) -> None:
    while buckets.count_slice():
        pass


def levels(buckets: CountedBuckets[int]) -> list[int]:
    return [buckets.level(index) for index in range(COUNT)]


def test_a_peer_that_arrives_and_leaves_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buckets: CountedBuckets[int] = CountedBuckets(COUNT, Bitfield.full(COUNT))
    shifted: list[int] = []
    monkeypatch.setattr(buckets, "shift_part", lambda *_: shifted.append(1))
    for peer in range(50):
        buckets.count_peer(peer, some(Random(peer)))
        buckets.uncount_peer(peer)
    assert not buckets.count_slice()
    assert not shifted


def test_a_choice_counts_at_most_one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Bitfield.full(COUNT)
    rarest: RarestFirst[int] = RarestFirst(full, Random(1))
    slices: list[slice] = []
    original = rarest.shift_part

    def shift_part(part: slice, chunks: bytes, change: int) -> None:
        slices.append(part)
        original(part, chunks, change)

    monkeypatch.setattr(rarest, "shift_part", shift_part)
    for peer in range(5):
        rarest.on_peer_joined(peer, some(Random(peer)))
    assert not slices
    for number in range(1, 6 * module.PICKS):
        assert rarest.next_for(0) is not None
        assert len(slices) <= number // module.PICKS
    assert slices


def test_those_that_have_left_are_uncounted_first() -> None:
    """So no more bitfields are kept than there are places for peers."""
    buckets: CountedBuckets[int] = CountedBuckets(COUNT, Bitfield.full(COUNT))
    buckets.count_peer(0, Bitfield.full(COUNT))
    finish(buckets)
    buckets.count_peer(1, Bitfield.full(COUNT))
    buckets.uncount_peer(0)
    for _ in range(-(-COUNT // 8 // SLICE)):
        buckets.count_slice()
    assert levels(buckets) == [0] * COUNT
    finish(buckets)
    assert levels(buckets) == [1] * COUNT


@pytest.mark.parametrize("seed", range(10))
def test_after_any_order_of_events_the_levels_are_the_copies(seed: int) -> None:
    rng = Random(seed)
    rarest: RarestFirst[int] = RarestFirst(Bitfield.full(COUNT), rng)
    picker: ChunkPicker[int] = ChunkPicker(Bitfield(COUNT), rng)
    have: dict[int, Bitfield] = {}
    sent: dict[int, set[int]] = {}
    for step in range(300):
        peer, index = rng.choice([*have, 0]), rng.randrange(COUNT)
        match rng.randrange(6):
            case 0:
                have[step], sent[step] = some(rng), set()
                rarest.on_peer_joined(step, have[step])
                picker.on_peer_joined(step, have[step].copy())
            case 1 if peer in have:
                del have[peer], sent[peer]
                rarest.on_peer_left(peer)
                picker.on_peer_left(peer)
            case 2 if peer in have:
                have[peer].add(index)
                rarest.on_have(peer, index)
                picker.on_have(peer, index)
            case 3 if peer in have:
                runs = have[peer].copy().add_runs([(index, min(90, COUNT - index))])
                have[peer].add_all(runs)
                rarest.on_have_all(peer, runs)
                picker.on_have_all(peer, runs)
            case 4 if peer in have:
                rarest.on_sent(peer, index)
                sent[peer].add(index)
            case _:
                rarest.count_slice()
                picker.free.count_slice()
    finish(rarest)
    finish(picker.free)
    announced = [sum(i in each for each in have.values()) for i in range(COUNT)]
    assert levels(picker.free) == announced
    assert levels(rarest) == [
        sum(i in have[peer] or i in sent[peer] for peer in have) for i in range(COUNT)
    ]


def test_no_chunk_is_unavailable_while_peers_are_not_counted() -> None:
    picker: ChunkPicker[int] = ChunkPicker(Bitfield(COUNT), Random(1))
    picker.on_peer_joined(0, Bitfield.of(range(COUNT - 1), COUNT))
    assert picker.free.count_slice()
    finish(picker.free)
    assert picker.free.one_of(0) == COUNT - 1
