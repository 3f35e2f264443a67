"""What is asked of whom: the unproven, the slow, the stalled, and what is overdue."""

from random import Random

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.schedule.scheduler import CHOICE_PAUSE, Scheduler
from shoal.core.schedule.window import FIRST_REQUESTS, MAX_BYTES, STALL_TIME
from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS

CHUNKS = Chunks(40 * 16_384, 16_384)


def begin(*givers: str) -> Scheduler[str]:
    asking: Scheduler[str] = Scheduler(CHUNKS, Bitfield(CHUNKS.count), Random(1))
    for giver in givers:
        asking.add(giver)
    return asking


def ask(asking: Scheduler[str], giver: str) -> list[int]:
    """Ask a giver for as much as there is room for."""
    room = asking.room(giver, 0)
    return asking.next_requests(giver, room, 0.0)[1] if room > 0 else []


def test_an_unproven_source_gets_one_request_until_its_chunk_is_verified() -> None:
    asking = begin("one")
    (index,) = ask(asking, "one")
    assert ask(asking, "one") == []
    assert asking.on_answer("one", index, 0.01, was_any=False)
    assert ask(asking, "one") == [], "it was asked before the verdict"
    asking.on_verified(index, "one")
    assert len(ask(asking, "one")) >= FIRST_REQUESTS


def test_each_source_proves_only_itself() -> None:
    asking = begin("one", "two")
    (mine,), (other,) = ask(asking, "one"), ask(asking, "two")
    asking.on_answer("one", mine, 0.01, was_any=False)
    asking.on_answer("two", other, 0.01, was_any=False)
    asking.on_verified(mine, "one")
    asking.on_failed(other)
    assert ask(asking, "two") == [], "a liar is asked again"
    assert ask(asking, "one")


def test_a_chunk_that_was_not_needed_proves_nothing() -> None:
    asking = begin("one", "two")
    (mine,) = ask(asking, "one")
    asking.on_answer("one", mine, 0.01, was_any=False)
    asking.on_verified(mine, "one")
    assert not asking.on_answer("two", mine, 0.01, was_any=False)
    assert len(ask(asking, "two")) == 1


def test_a_source_that_returns_proves_itself_again() -> None:
    asking = begin("one")
    (index,) = ask(asking, "one")
    asking.on_answer("one", index, 0.01, was_any=False)
    asking.remove("one")
    asking.on_verified(index, "one")  # too late to mean anything
    asking.add("one")
    assert len(ask(asking, "one")) == 1


SIZE = 64 * 1024
COUNT = 100


def crowd(count: int = COUNT, *have: int) -> Scheduler[str]:
    known = Bitfield(count)
    for index in have:
        known.add(index)
    return Scheduler(Chunks(count * SIZE, SIZE), known, Random(1))


def ask_at(of: Scheduler[str], giver: str, now: float) -> tuple[int, list[int]]:
    room = of.room(giver, 0)
    return of.next_requests(giver, room, now) if room > 0 else (0, [])


def give(of: Scheduler[str], giver: str, index: int, now: float) -> list[str]:
    of.on_heard(giver, now)
    assert of.on_answer(giver, index, now, was_any=False)
    return of.on_verified(index, giver)


def prove(swarm: Scheduler[str], *givers: str) -> None:
    """Have each of them give its first chunk."""
    for giver in givers:
        (index,) = ask_at(swarm, giver, 0.0)[1]
        give(swarm, giver, index, 0.0)


def test_sources_that_are_ahead_get_as_many_requests_as_one() -> None:
    size = MAX_BYTES // 8
    swarm: Scheduler[str] = Scheduler(
        Chunks(800 * size, size), Bitfield(800), Random(1)
    )
    for giver in "abcd":
        swarm.add(giver)
    prove(swarm, *"abcd")
    owed = [(giver, i) for giver in "abcd" for i in ask_at(swarm, giver, 0.0)[1]]
    assert len(owed) >= 4 * FIRST_REQUESTS
    for giver, index in owed:
        for _ in range(10):
            swarm.on_heard(giver, 0.0, is_ahead=True)
        give(swarm, giver, index, 0.0)
    assert sum(len(ask_at(swarm, giver, 0.0)[1]) for giver in "abcd") == 8
    assert swarm.due(), "nobody asks the others once there is room"


def test_a_stalled_source_may_choose_again_later() -> None:
    swarm = crowd()
    swarm.add("source", can_choose=True, most=MAX_QUEUED_REQUESTS)
    assert ask_at(swarm, "source", 0.0)[0]
    assert swarm.on_tick(2 * STALL_TIME) == ["source"]
    swarm.on_answer("source", 0, 2 * STALL_TIME, was_any=True)
    swarm.on_verified(0, "source")
    number, indexes = ask_at(swarm, "source", 2 * STALL_TIME + CHOICE_PAUSE)
    assert number
    assert indexes == []


def test_a_source_with_long_delays_gets_one_request_at_a_time() -> None:
    swarm = crowd()
    for giver in "abcdefgh":
        swarm.add(giver)
    prove(swarm, *"abcdefgh")
    asked = {giver: ask_at(swarm, giver, 0.0)[1] for giver in "abcdefgh"}
    for at, index in enumerate(asked["a"]):
        give(swarm, "a", index, 2.0 + at)
    assert len(ask_at(swarm, "a", 9.0)[1]) == 1


def test_near_the_end_only_late_chunks_are_requested_twice() -> None:
    swarm = crowd(6)
    swarm.add("slow")
    swarm.add("fast")
    prove(swarm, "slow", "fast")
    owed = ask_at(swarm, "slow", 0.0)[1]
    assert len(owed) == 4
    assert ask_at(swarm, "fast", 0.0)[1] == []
    give(swarm, "slow", owed[0], 0.5)
    swarm.on_tick(0.4)
    assert ask_at(swarm, "fast", 0.4)[1] == []
    swarm.on_tick(1.1)
    assert set(swarm.due()) == {"slow", "fast"}
    copied = ask_at(swarm, "fast", 1.1)[1]
    assert copied
    assert set(copied) <= set(owed[1:])
    assert give(swarm, "fast", copied[0], 1.2) == ["slow"]


def test_a_verified_chunk_makes_no_source_due() -> None:
    swarm = crowd()
    swarm.add("one")
    swarm.add("other")
    prove(swarm, "one")
    asked = ask_at(swarm, "one", 0.0)[1]
    swarm.due()
    give(swarm, "one", asked[0], 0.1)
    assert swarm.due() == []
    swarm.on_failed(asked[1])
    assert swarm.due() == ["one", "other"]
    assert swarm.due() == []


def test_an_announcement_of_a_verified_chunk_is_useless() -> None:
    swarm = crowd(COUNT, 7)
    swarm.add("peer", Bitfield(COUNT))
    assert not swarm.on_have("peer", [7])
    assert swarm.on_have("peer", [8])


def test_a_source_is_due_after_its_first_verified_chunk() -> None:
    swarm = crowd()
    swarm.add("one")
    swarm.due()
    prove(swarm, "one")
    assert swarm.due() == ["one"]


def reader(*givers: str) -> Scheduler[str]:
    """Return the asking of one who has read chunk 0 from the first giver."""
    asking: Scheduler[str] = Scheduler(
        CHUNKS, Bitfield(CHUNKS.count), Random(1), wanted=()
    )
    for number, giver in enumerate(givers):
        asking.add(giver)
        assert asking.request_at_once(number, 0.0) == giver, (
            "the unproven are asked first"
        )
        give(asking, giver, number, 1.0 - number / 10)
    return asking


def test_request_at_once_chooses_the_fastest_peer() -> None:
    asking = reader("slow", "quick")
    assert asking.request_at_once(7, 2.0) == "quick"
    assert asking.requested == {7}
    assert asking.request_at_once(8, 2.0) is None, "another is on its way"
    give(asking, "quick", 7, 2.1)
    assert asking.is_complete
    assert asking.request_at_once(8, 3.0) == "quick"


def test_request_at_once_ignores_verified_and_unavailable_chunks() -> None:
    asking = reader("one")
    assert asking.request_at_once(0, 2.0) is None
    asking.remove("one")
    asking.add("two", Bitfield(CHUNKS.count))
    asking.add_origin("origin")
    assert asking.request_at_once(7, 2.0) is None
    assert asking.is_complete, "it counts as wanted"


def test_a_chunk_requested_at_once_is_free_when_its_peer_leaves() -> None:
    asking = reader("slow", "quick")
    assert asking.request_at_once(7, 2.0) == "quick"
    assert asking.remove("quick")
    assert ask_at(asking, "slow", 2.0) == (0, [7])
