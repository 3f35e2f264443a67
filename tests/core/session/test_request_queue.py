"""What a taker asked for is kept in its order, and not for ever."""

from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS, RequestQueue
from shoal.core.wire.sealed_messages import Reason


def wanting(*indexes: int | None) -> RequestQueue:
    wants = RequestQueue()
    for index in indexes:
        assert wants.add(index, lambda index: True) is None
    return wants


def test_only_one_request_for_a_certain_chunk_is_a_lone_one() -> None:
    assert wanting(3).lone == 3
    assert wanting(0).lone == 0
    assert wanting().lone is None
    assert wanting(3, 4).lone is None
    assert wanting(None).lone is None


def test_what_is_taken_back_or_given_is_wanted_no_more() -> None:
    wants = wanting(3, 4, 5)
    wants.cancel(4)
    wants.cancel(4)
    assert wants.take(lambda: 9) == (3, False)
    assert wants.lone == 5


def test_any_chunk_is_chosen_when_it_is_taken() -> None:
    assert wanting(None, 3).take(lambda: 9) == (9, True)
    assert wanting(None).take(lambda: None) == (None, True)


def test_what_is_not_there_or_too_much_is_refused() -> None:
    wants = wanting(*range(MAX_QUEUED_REQUESTS - 1))
    assert wants.add(7, lambda index: False) == Reason.MISSING
    assert wants.add(7, lambda index: True) is None
    assert wants.add(None, lambda index: True) == Reason.BUSY
