"""Check the order and the limit of a peer's requests."""

from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS, RequestQueue
from shoal.core.wire.sealed_messages import Reason


def wanting(*indexes: int | None) -> RequestQueue:
    wants = RequestQueue()
    for index in indexes:
        assert wants.add(index, lambda index: True) is None
    return wants


def test_lone_is_the_chunk_of_a_single_request_by_index() -> None:
    assert wanting(3).lone == 3
    assert wanting(0).lone == 0
    assert wanting().lone is None
    assert wanting(3, 4).lone is None
    assert wanting(None).lone is None


def test_cancelled_and_answered_requests_leave_the_queue() -> None:
    wants = wanting(3, 4, 5)
    wants.cancel(4)
    wants.cancel(4)
    assert wants.take(lambda: 9) == (3, False)
    assert wants.lone == 5


def test_any_chunk_is_chosen_when_its_request_is_taken() -> None:
    assert wanting(None, 3).take(lambda: 9) == (9, True)
    assert wanting(None).take(lambda: None) == (None, True)


def test_a_chosen_chunk_that_was_also_requested_by_index_is_taken_once() -> None:
    wants, chosen = wanting(None, 3, 5), iter([5, 8])
    taken = [wants.take(lambda: next(chosen)) for _ in range(3)]
    assert taken == [(5, False), (8, True), (3, False)]
    assert not wants.requests


def test_missing_chunks_and_too_many_requests_are_refused() -> None:
    wants = wanting(*range(MAX_QUEUED_REQUESTS - 1))
    assert wants.add(7, lambda index: False) == Reason.MISSING
    assert wants.add(7, lambda index: True) is None
    assert wants.add(None, lambda index: True) == Reason.BUSY
