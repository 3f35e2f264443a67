"""Who says of a chunk that it is about to have it is believed, for a while."""

from shoal.core.schedule.pulls import PULL_TIME, Pulls
from shoal.core.wire.sealed_messages import MAX_PULLED


def test_what_somebody_pulls_is_pulled_until_he_has_it() -> None:
    pulls: Pulls[str] = Pulls()
    pulls.on_pulling("ann", [1, 2, 3], 10.0)
    assert [pulls.is_pulled(i, 10.0, 0.0) for i in range(5)] == [0, 1, 1, 1, 0]
    pulls.on_have("ann", [2, 4])
    pulls.on_have("bob", [3])
    assert [pulls.is_pulled(i, 10.0, 0.0) for i in range(5)] == [0, 1, 0, 1, 0]


def test_what_one_pulls_who_has_left_is_not() -> None:
    pulls: Pulls[str] = Pulls()
    pulls.on_pulling("ann", [1], 10.0)
    pulls.on_pulling("bob", [1, 2], 10.0)
    pulls.remove("ann")
    assert not pulls.is_pulled(1, 10.0, 0.0)
    assert pulls.is_pulled(2, 10.0, 0.0)
    pulls.on_pulling("ann", [1], 11.0)
    assert pulls.is_pulled(1, 11.0, 0.0)


def test_one_who_does_not_keep_his_word_is_not_believed_again() -> None:
    pulls: Pulls[str] = Pulls()
    pulls.on_pulling("ann", [1, 2], 10.0)
    assert pulls.is_pulled(1, 10.0 + PULL_TIME, 0.0)
    late = 10.1 + PULL_TIME
    assert not pulls.is_pulled(1, late, 0.0)
    pulls.on_pulling("ann", [1, 2, 3], late)
    assert not any(pulls.is_pulled(i, late, 0.0) for i in range(4))


def test_where_a_chunk_takes_long_one_has_longer_for_it() -> None:
    pulls: Pulls[str] = Pulls()
    pulls.on_pulling("ann", [1], 10.0)
    assert pulls.is_pulled(1, 10.0 + 3 * 60, 60.0)
    assert not pulls.is_pulled(1, 10.1 + 3 * 60, 60.0)


def test_nobody_keeps_others_from_everything() -> None:
    pulls: Pulls[str] = Pulls()
    pulls.on_pulling("ann", range(10 * MAX_PULLED), 10.0)
    pulled = [pulls.is_pulled(i, 10.0, 0.0) for i in range(10 * MAX_PULLED)]
    assert sum(pulled) == MAX_PULLED
