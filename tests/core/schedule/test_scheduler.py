"""Check which chunks are requested from unproven, slow and stalled sources."""

from random import Random

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.schedule.scheduler import CHOICE_PAUSE, MAX_WASTED, Scheduler
from shoal.core.schedule.window import (
    BUSY_PAUSE,
    FIRST_REQUESTS,
    MAX_BYTES,
    STALL_TIME,
)
from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS

CHUNKS = Chunks(40 * 16_384, 16_384)


def begin(*sources: str) -> Scheduler[str]:
    scheduler: Scheduler[str] = Scheduler(CHUNKS, Bitfield(CHUNKS.count), Random(1))
    for source in sources:
        scheduler.add(source)
    return scheduler


def ask(scheduler: Scheduler[str], source: str) -> list[int]:
    """Request from a source as much as its window has room for."""
    room = scheduler.room(source, 0)
    return scheduler.next_requests(source, room, 0.0)[1] if room > 0 else []


def test_an_unproven_source_gets_one_request_until_its_chunk_is_verified() -> None:
    scheduler = begin("one")
    (index,) = ask(scheduler, "one")
    assert ask(scheduler, "one") == []
    assert scheduler.on_answer("one", index, 0.01, was_any=False)
    assert ask(scheduler, "one") == [], "a request before verification"
    scheduler.on_verified(index, "one")
    assert len(ask(scheduler, "one")) >= FIRST_REQUESTS


def test_each_source_proves_only_itself() -> None:
    scheduler = begin("one", "two")
    (mine,), (other,) = ask(scheduler, "one"), ask(scheduler, "two")
    scheduler.on_answer("one", mine, 0.01, was_any=False)
    scheduler.on_answer("two", other, 0.01, was_any=False)
    scheduler.on_verified(mine, "one")
    scheduler.on_failed(other)
    assert ask(scheduler, "two") == [], "a source of a wrong chunk gets requests"
    assert ask(scheduler, "one")


def test_a_chunk_that_was_not_needed_proves_nothing() -> None:
    scheduler = begin("one", "two")
    (mine,) = ask(scheduler, "one")
    scheduler.on_answer("one", mine, 0.01, was_any=False)
    scheduler.on_verified(mine, "one")
    assert not scheduler.on_answer("two", mine, 0.01, was_any=False)
    assert len(ask(scheduler, "two")) == 1


def test_a_source_that_returns_proves_itself_again() -> None:
    scheduler = begin("one")
    (index,) = ask(scheduler, "one")
    scheduler.on_answer("one", index, 0.01, was_any=False)
    scheduler.remove("one")
    scheduler.on_verified(index, "one")  # after it left
    scheduler.add("one")
    assert len(ask(scheduler, "one")) == 1


SIZE = 64 * 1024
COUNT = 100


def crowd(count: int = COUNT, *have: int) -> Scheduler[str]:
    known = Bitfield(count)
    for index in have:
        known.add(index)
    return Scheduler(Chunks(count * SIZE, SIZE), known, Random(1))


def ask_at(of: Scheduler[str], source: str, now: float) -> tuple[int, list[int]]:
    room = of.room(source, 0)
    return of.next_requests(source, room, now) if room > 0 else (0, [])


def give(of: Scheduler[str], source: str, index: int, now: float) -> list[str]:
    of.on_heard(source, now)
    assert of.on_answer(source, index, now, was_any=False)
    return of.on_verified(index, source)


def prove(scheduler: Scheduler[str], *sources: str) -> None:
    """Have each source send its first chunk."""
    for source in sources:
        (index,) = ask_at(scheduler, source, 0.0)[1]
        give(scheduler, source, index, 0.0)


def test_sources_that_are_ahead_get_as_many_requests_as_one() -> None:
    size = MAX_BYTES // 8
    scheduler: Scheduler[str] = Scheduler(
        Chunks(800 * size, size), Bitfield(800), Random(1)
    )
    for source in "abcd":
        scheduler.add(source)
    prove(scheduler, *"abcd")
    requested = [
        (source, i) for source in "abcd" for i in ask_at(scheduler, source, 0.0)[1]
    ]
    assert len(requested) >= 4 * FIRST_REQUESTS
    for source, index in requested:
        for _ in range(10):
            scheduler.on_heard(source, 0.0, is_ahead=True)
        give(scheduler, source, index, 0.0)
    assert sum(len(ask_at(scheduler, source, 0.0)[1]) for source in "abcd") == 8
    assert scheduler.due(), "the others get no requests once there is room"


def test_a_stalled_source_may_choose_again_later() -> None:
    scheduler = crowd()
    scheduler.add("source", can_choose=True, most=MAX_QUEUED_REQUESTS)
    assert ask_at(scheduler, "source", 0.0)[0]
    assert scheduler.on_tick(2 * STALL_TIME) == ["source"]
    scheduler.on_answer("source", 0, 2 * STALL_TIME, was_any=True)
    scheduler.on_verified(0, "source")
    number, indexes = ask_at(scheduler, "source", 2 * STALL_TIME + CHOICE_PAUSE)
    assert number
    assert indexes == []


def test_a_stalled_source_that_has_nothing_to_choose_is_asked_by_index() -> None:
    """It was stopped, and the chunk that it would have sent has changed meanwhile."""
    scheduler = crowd()
    scheduler.add("source", can_choose=True, most=MAX_QUEUED_REQUESTS)
    assert ask_at(scheduler, "source", 0.0)[0]
    now = 2 * STALL_TIME
    assert scheduler.on_tick(now) == ["source"]
    scheduler.on_refused("source", None, now, is_busy=False)
    assert len(ask_at(scheduler, "source", now)[1]) == 1


def test_a_busy_source_gets_a_request_again_after_a_pause() -> None:
    scheduler = begin("one", "two")
    for source in ("one", "two"):
        (index,) = ask(scheduler, source)
        scheduler.on_refused(source, index, 0.0, is_busy=True)
        assert ask(scheduler, source) == []
    scheduler.on_tick(BUSY_PAUSE / 2)
    assert ask(scheduler, "one") == []
    scheduler.on_tick(BUSY_PAUSE)
    assert set(scheduler.due()) == {"one", "two"}
    assert ask(scheduler, "one")
    assert ask(scheduler, "two")


def test_an_answer_ends_the_pause_of_a_busy_source() -> None:
    scheduler = begin("one")
    (index,) = ask(scheduler, "one")
    scheduler.on_answer("one", index, 0.0, was_any=False)
    scheduler.on_verified(index, "one")
    first, *others = ask(scheduler, "one")
    scheduler.on_refused("one", first, 0.0, is_busy=True)
    assert ask(scheduler, "one") == []
    for index in others:
        scheduler.on_answer("one", index, 0.0, was_any=False)
    assert ask(scheduler, "one")


def some(*wanted: int) -> Scheduler[str]:
    return Scheduler(CHUNKS, Bitfield(CHUNKS.count), Random(1), wanted=wanted)


def test_the_source_chooses_among_the_chunks_that_are_wanted() -> None:
    scheduler = some(3, 5)
    scheduler.add("source", can_choose=True)
    assert ask_at(scheduler, "source", 0.0) == (1, [])
    assert scheduler.on_answer("source", 5, 0.1, was_any=True)
    scheduler.on_verified(5, "source")
    assert ask_at(scheduler, "source", 0.1) == (1, [])
    assert scheduler.on_answer("source", 3, 0.2, was_any=True)
    scheduler.on_verified(3, "source")
    assert scheduler.is_complete


def test_a_source_that_sends_what_is_not_wanted_chooses_no_more() -> None:
    scheduler = some(3, 5)
    scheduler.add("source", can_choose=True)
    for index in range(6, 6 + MAX_WASTED):
        assert ask_at(scheduler, "source", 0.0) == (1, [])
        assert not scheduler.on_answer("source", index, 0.0, was_any=True)
        assert index not in scheduler.picker.requested
    assert ask_at(scheduler, "source", 0.0)[1][0] in (3, 5)


def test_a_reader_lets_no_source_choose() -> None:
    scheduler = some()
    scheduler.add("source", can_choose=True)
    scheduler.add_wanted([7, 8])
    assert ask_at(scheduler, "source", 0.0) == (0, [7])


def test_a_source_with_long_delays_gets_one_request_at_a_time() -> None:
    scheduler = crowd()
    for source in "abcdefgh":
        scheduler.add(source)
    prove(scheduler, *"abcdefgh")
    asked = {source: ask_at(scheduler, source, 0.0)[1] for source in "abcdefgh"}
    for at, index in enumerate(asked["a"]):
        give(scheduler, "a", index, 2.0 + at)
    assert len(ask_at(scheduler, "a", 9.0)[1]) == 1


def test_near_the_end_only_late_chunks_are_requested_twice() -> None:
    scheduler = crowd(6)
    scheduler.add("slow")
    scheduler.add("fast")
    prove(scheduler, "slow", "fast")
    requested = ask_at(scheduler, "slow", 0.0)[1]
    assert len(requested) == 4
    assert ask_at(scheduler, "fast", 0.0)[1] == []
    give(scheduler, "slow", requested[0], 0.5)
    scheduler.on_tick(0.4)
    assert ask_at(scheduler, "fast", 0.4)[1] == []
    scheduler.on_tick(1.1)
    assert set(scheduler.due()) == {"slow", "fast"}
    copied = ask_at(scheduler, "fast", 1.1)[1]
    assert copied
    assert set(copied) <= set(requested[1:])
    assert give(scheduler, "fast", copied[0], 1.2) == ["slow"]


def test_a_verified_chunk_makes_no_source_due() -> None:
    scheduler = crowd()
    scheduler.add("one")
    scheduler.add("other")
    prove(scheduler, "one")
    asked = ask_at(scheduler, "one", 0.0)[1]
    scheduler.due()
    give(scheduler, "one", asked[0], 0.1)
    assert scheduler.due() == []
    scheduler.on_failed(asked[1])
    assert scheduler.due() == ["one", "other"]
    assert scheduler.due() == []


def test_an_announcement_of_a_verified_chunk_is_useless() -> None:
    scheduler = crowd(COUNT, 7)
    scheduler.add("peer", Bitfield(COUNT))
    assert not scheduler.on_have("peer", [7])
    assert scheduler.on_have("peer", [8])


def test_a_source_is_due_after_its_first_verified_chunk() -> None:
    scheduler = crowd()
    scheduler.add("one")
    scheduler.due()
    prove(scheduler, "one")
    assert scheduler.due() == ["one"]


def reader(*sources: str) -> Scheduler[str]:
    """Return the scheduler of a reader that has one chunk of each source."""
    scheduler: Scheduler[str] = Scheduler(
        CHUNKS, Bitfield(CHUNKS.count), Random(1), wanted=()
    )
    for number, source in enumerate(sources):
        scheduler.add(source)
        assert scheduler.request_at_once(number, 0.0) == source, (
            "an unproven source comes first"
        )
        give(scheduler, source, number, 1.0 - number / 10)
    return scheduler


def test_request_at_once_chooses_the_fastest_peer() -> None:
    scheduler = reader("slow", "quick")
    assert scheduler.request_at_once(7, 2.0) == "quick"
    assert scheduler.picker.requested == {7}
    assert scheduler.request_at_once(8, 2.0) is None, "another chunk is outstanding"
    give(scheduler, "quick", 7, 2.1)
    assert scheduler.is_complete
    assert scheduler.request_at_once(8, 3.0) == "quick"


def test_request_at_once_ignores_verified_and_unavailable_chunks() -> None:
    scheduler = reader("one")
    assert scheduler.request_at_once(0, 2.0) is None
    scheduler.remove("one")
    scheduler.add("two", Bitfield(CHUNKS.count))
    scheduler.add_origin("origin")
    assert scheduler.request_at_once(7, 2.0) is None
    assert scheduler.is_complete, "it counts as wanted"


def test_a_chunk_requested_at_once_is_free_when_its_peer_leaves() -> None:
    scheduler = reader("slow", "quick")
    assert scheduler.request_at_once(7, 2.0) == "quick"
    assert scheduler.remove("quick")
    assert ask_at(scheduler, "slow", 2.0) == (0, [7])
