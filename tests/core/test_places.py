"""The owner of the most places loses one first."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.places import (
    MAX_BITFIELDS,
    MAX_CONNECTIONS,
    MIN_CONNECTIONS,
    Owner,
    most_crowded,
    places_of,
)


def leaving(holders: Sequence[Owner], newcomer: Owner) -> set[Owner]:
    return set(most_crowded(holders, lambda owner: owner, newcomer))


def test_another_host_makes_room_if_it_has_more_places() -> None:
    holders = [("a", 1), ("a", 2), ("a", 2), ("b", 3)]
    assert leaving(holders, ("c", 4)) == {("a", 2)}
    assert leaving(holders, ("b", 4)) == {("a", 2)}


def test_a_host_that_would_have_as_many_places_takes_none() -> None:
    assert leaving([("a", 1), ("a", 2), ("b", 3)], ("b", 4)) == set()
    assert leaving([("a", 1), ("b", 2)], ("c", 3)) == set()
    assert leaving([], ("a", 1)) == set()


def test_at_the_same_host_the_node_id_with_the_most_places_makes_room() -> None:
    assert leaving([("a", 1), ("a", 1), ("a", 2)], ("a", 3)) == {("a", 1)}
    assert leaving([("a", 1), ("a", 2)], ("a", 3)) == set()
    assert leaving([("a", 1), ("a", 1)], ("a", 1)) == set()


def test_the_bitfields_of_all_places_are_limited() -> None:
    assert places_of(0) == places_of(1 << 18) == MAX_CONNECTIONS
    assert places_of(10_000_000) * 10_000_000 // 8 <= MAX_BITFIELDS
    assert places_of(1 << 26) == MIN_CONNECTIONS


OWNERS = st.tuples(st.sampled_from("abc"), st.integers(0, 3))


@given(st.lists(OWNERS, min_size=1, max_size=30), OWNERS)
def test_replacing_never_makes_the_largest_host_larger(
    holders: list[Owner], newcomer: Owner
) -> None:
    def largest(owners: list[Owner]) -> int:
        hosts = [host for host, _ in owners]
        return max(map(hosts.count, hosts))

    for left in leaving(holders, newcomer):
        after = [*holders, newcomer]
        after.remove(left)
        assert left != newcomer
        assert largest(after) <= largest(holders)
