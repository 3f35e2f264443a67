"""How many bytes are read for one peer at a time, on a fake clock."""

from shoal.core.rate_limit import RateLimit
from shoal.core.send_budget import LARGE_PART, SMALL_PART, SendBudget
from shoal.transfer.receiver import UploadRoom


def test_a_rate_limit_paces_the_parts_of_a_chunk() -> None:
    now = 0.0
    rate = RateLimit(float(LARGE_PART))
    room = UploadRoom(9 * LARGE_PART, rate, SendBudget(), lambda: now)
    assert room.take() == LARGE_PART
    room.made()
    assert room.take() == 0
    now = 1.0
    assert room.take() == LARGE_PART
    assert room.given == 2 * LARGE_PART


def test_no_more_room_is_taken_than_is_needed() -> None:
    budget = SendBudget()
    room = UploadRoom(100_000, RateLimit(), budget, lambda: 0.0)
    assert (room.take(), room.given) == (100_000, 100_000)
    room.made()
    assert room.take() == SMALL_PART, "what is left is never so little that none is"
