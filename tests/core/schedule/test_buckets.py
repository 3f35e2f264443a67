"""Compare the buckets with a plain dictionary."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.buckets import MAX_CANDIDATES, Buckets

STEPS = st.lists(st.tuples(st.sampled_from("ads"), st.integers(0, 19)), max_size=80)


@given(STEPS)
def test_chunks_are_kept_at_the_level_they_were_moved_to(
    steps: list[tuple[str, int]],
) -> None:
    buckets, members, levels = Buckets(20), set[int](), [0] * 20
    for step, index in steps:
        match step:
            case "a":
                buckets.add(index)
                members.add(index)
            case "d":
                buckets.discard(index)
                members.discard(index)
            case _:
                change = -1 if levels[index] and index % 2 else 1
                buckets.shift(index, change)
                levels[index] += change
        assert len(buckets) == len(members)
        assert {i for i in range(20) if i in buckets} == members
        assert [buckets.level(i) for i in range(20)] == levels
        for level in range(max(levels) + 2):
            expected = sum(levels[i] == level for i in members)
            assert buckets.size_of(level) == expected
        found = buckets.probe(Random(1), lambda index: True)
        lowest = min((levels[i] for i in members), default=None)
        assert (None if found is None else levels[found]) == lowest


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_candidates_are_members_of_both_sets_the_rarest_last(
    members: set[int], had: set[int]
) -> None:
    buckets, field = Buckets(100), Bitfield(100)
    for index in members:
        buckets.add(index)
        buckets.shift(index, index % 7)
    for index in had:
        field.add(index)
    found = buckets.candidates(Random(1), bytes(field))
    assert set(found) == members & had
    assert [i % 7 for i in found] == sorted((i % 7 for i in found), reverse=True)


def test_the_number_of_candidates_is_limited() -> None:
    buckets = Buckets(5000)
    for index in range(5000):
        buckets.add(index)
    full = bytes(Bitfield.full(5000))
    assert len(buckets.candidates(Random(1), full)) == MAX_CANDIDATES
