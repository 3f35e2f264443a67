"""Runs go to the peer that should answer first, and to another one if it does not."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.manifest.blocks import Run
from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.block_requests import (
    LATE_TIME,
    MAX_READS,
    BlockScheduler,
)
from shoal.core.schedule.window import BUSY_PAUSE

COUNT = 8  # chunks


class Bench:
    """A scheduler with peers; the numbers of requests count up."""

    def __init__(self, **have: list[int] | None) -> None:
        self.scheduler: BlockScheduler[str] = BlockScheduler()
        self.now = 0.0
        self.reads = 0
        for name, indexes in have.items():
            self.join(name, indexes)

    def join(self, name: str, indexes: list[int] | None = None) -> None:
        have = Bitfield(COUNT)
        for index in range(COUNT) if indexes is None else indexes:
            have.add(index)
        self.scheduler.add(name, have, self.now)

    def send(self) -> list[tuple[str, Run, int]]:
        """Send all requests that may be sent now."""
        sent = []
        while (request := self.scheduler.next_request(self.now)) is not None:
            self.reads += 1
            self.scheduler.on_sent(*request, self.reads, self.now)
            sent.append((*request, self.reads))
        return sent

    def prove(self, name: str, delay: float) -> None:
        """Let a peer answer a first request, which takes `delay` seconds."""
        others = [s for s in self.scheduler._peers if s != name]
        run = Run(0, 200, 1)
        for other in others:
            self.scheduler._peers[other].lacking.add(0)
        self.scheduler.want(run)
        ((source, _, read),) = self.send()
        assert source == name
        self.now += delay
        self.scheduler.on_answer(name, read, self.now)
        self.scheduler.on_verified(name, run)
        for other in others:
            self.scheduler._peers[other].lacking.discard(0)

    def want(self, *runs: Run) -> list[tuple[str, Run, int]]:
        for run in runs:
            self.scheduler.want(run)
        return self.send()


def test_a_run_is_requested_from_a_peer_that_has_its_chunk() -> None:
    bench = Bench(a=[1], b=[2])
    assert [name for name, _, _ in bench.want(Run(2, 0, 1))] == ["b"]


def test_the_peer_that_answers_soonest_is_asked() -> None:
    bench = Bench(a=None, b=None)
    bench.prove("a", 0.3)
    bench.prove("b", 0.01)
    assert [name for name, _, _ in bench.want(Run(1, 0, 1))] == ["b"]


def test_an_idle_peer_is_asked_before_a_busy_one_that_is_as_fast() -> None:
    bench = Bench(a=None, b=None)
    bench.prove("a", 0.10)
    bench.prove("b", 0.11)
    names = [name for name, _, _ in bench.want(*(Run(1, n, 1) for n in range(4)))]
    assert names == ["a", "b", "a", "b"]


def test_a_peer_that_was_never_asked_is_tried() -> None:
    bench = Bench(a=None)
    bench.prove("a", 0.01)
    bench.join("b")
    assert [name for name, _, _ in bench.want(Run(1, 0, 1))] == ["b"]


def test_a_peer_gets_one_request_until_something_from_it_verified() -> None:
    bench = Bench(a=None)
    assert len(bench.want(Run(1, 0, 1), Run(1, 1, 1))) == 1
    bench.scheduler.on_answer("a", 1, 0.1)
    assert len(bench.send()) == 1, "it was answered"
    bench.scheduler.on_verified("a", Run(1, 0, 1))
    assert len(bench.want(*(Run(2, n, 1) for n in range(99)))) == MAX_READS - 1


def test_a_refused_run_goes_to_another_peer_and_never_back() -> None:
    bench = Bench(a=None, b=None)
    ((first, run, read),) = bench.want(Run(1, 0, 1))
    bench.scheduler.on_refused(first, read, bench.now, is_busy=False)
    ((second, again, read),) = bench.send()
    assert (again, {first, second}) == (run, {"a", "b"})
    bench.scheduler.on_refused(second, read, bench.now, is_busy=False)
    assert bench.send() == []
    assert bench.scheduler.take_unavailable() == [run]
    assert bench.scheduler.is_idle


def test_a_busy_peer_is_asked_again_after_a_pause() -> None:
    bench = Bench(a=None)
    ((_, run, read),) = bench.want(Run(1, 0, 1))
    bench.scheduler.on_refused("a", read, bench.now, is_busy=True)
    assert bench.send() == []
    assert bench.scheduler.take_unavailable() == []
    bench.now += BUSY_PAUSE
    assert [(name, again) for name, again, _ in bench.send()] == [("a", run)]


def test_a_late_run_is_requested_from_another_peer_too() -> None:
    bench = Bench(a=None, b=None)
    ((first, run, read),) = bench.want(Run(1, 0, 1))
    bench.now += LATE_TIME / 2
    assert bench.scheduler.on_tick(bench.now) == []
    assert bench.send() == []
    bench.now += LATE_TIME
    assert bench.scheduler.on_tick(bench.now) == [first]
    assert bench.scheduler.on_tick(bench.now) == [], "it is reported once"
    ((second, again, _),) = bench.send()
    assert (again, {first, second}) == (run, {"a", "b"})
    # The first one may still answer; then the other request is cancelled.
    bench.scheduler.on_answer(first, read, bench.now)
    assert bench.scheduler.on_verified(first, run) == [(second, read + 1)]


def test_a_long_run_that_keeps_arriving_is_not_late() -> None:
    bench = Bench(a=None, b=None)
    ((first, _, _),) = bench.want(Run(1, 0, 16))
    for _ in range(4):
        bench.now += LATE_TIME / 2
        bench.scheduler.on_heard(first, bench.now)
        assert bench.scheduler.on_tick(bench.now) == []
    bench.now += 200
    bench.scheduler.on_heard(first, bench.now)
    assert bench.scheduler.on_tick(bench.now) == [first], "bytes drip"


def test_a_wrong_run_is_requested_elsewhere() -> None:
    bench = Bench(a=None, b=None)
    ((first, run, read),) = bench.want(Run(1, 0, 1))
    bench.scheduler.on_answer(first, read, bench.now)
    bench.scheduler.on_failed(first, run)
    ((second, again, _),) = bench.send()
    assert (again, {first, second}) == (run, {"a", "b"})


def test_what_a_lost_peer_was_asked_for_is_requested_elsewhere() -> None:
    bench = Bench(a=None, b=None)
    ((first, run, _),) = bench.want(Run(1, 0, 1))
    bench.scheduler.remove(first)
    assert [again for _, again, _ in bench.send()] == [run]


def test_a_run_that_no_peer_has_is_given_back() -> None:
    bench = Bench(a=[1])
    run = Run(2, 0, 1)
    assert bench.want(run) == []
    assert bench.scheduler.take_unavailable() == [run]
    assert bench.scheduler.take_unavailable() == []


def test_a_run_that_is_requested_or_has_to_wait_is_not_given_back() -> None:
    bench = Bench(a=None)
    bench.want(Run(1, 0, 1), Run(1, 1, 1))
    assert bench.scheduler.take_unavailable() == []


def test_requests_for_what_is_not_wanted_any_more_are_cancelled_once() -> None:
    bench = Bench(a=None)
    ((_, run, read),) = bench.want(Run(1, 0, 1))
    assert bench.scheduler.unwant(run) == [("a", read)]
    assert bench.scheduler.unwant(run) == []
    # An unproven peer gets no second request before it has answered the first.
    assert bench.want(run) == []
    bench.scheduler.on_refused("a", read, bench.now, is_busy=False)
    # It refused because we cancelled, so it is asked for the same again.
    assert bench.scheduler.take_unavailable() == []
    assert [again for _, again, _ in bench.send()] == [run]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["want", "unwant", "send", "answer", "refuse", "tick", "lose"]),
        st.integers(0, 5),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(0, 99))
def test_every_wanted_run_is_requested_waiting_or_given_back(
    steps: list[tuple[str, int]], seed: int
) -> None:
    rng = Random(seed)
    bench = Bench(a=None, b=[0, 1, 2], c=[3])
    open_reads: list[tuple[str, Run, int]] = []
    wanted: set[Run] = set()
    for step, number in steps:
        run = Run(number, rng.randrange(3), 1)
        if step == "want":
            bench.scheduler.want(run)
            wanted.add(run)
        elif step == "unwant":
            bench.scheduler.unwant(run)
            wanted.discard(run)
        elif step == "tick":
            bench.now += 0.7
            bench.scheduler.on_tick(bench.now)
        elif step == "lose":
            name = "abc"[number % 3]
            bench.scheduler.remove(name)
            open_reads = [each for each in open_reads if each[0] != name]
        elif step == "send":
            open_reads += bench.send()
        elif open_reads:
            source, got, read = open_reads.pop(rng.randrange(len(open_reads)))
            if step == "answer":
                bench.scheduler.on_answer(source, read, bench.now)
                bench.scheduler.on_verified(source, got)
                wanted.discard(got)
            else:
                bench.scheduler.on_refused(source, read, bench.now, is_busy=number > 3)
        wanted -= set(bench.scheduler.take_unavailable())
        assert set(bench.scheduler.wanted) == wanted
        assert len({(name, run) for name, run, _ in open_reads}) <= len(open_reads)
    # All peers answer at last, so nothing is left.
    for _ in range(60):
        bench.now += 1.0
        bench.scheduler.on_tick(bench.now)
        open_reads += bench.send()
        for source, got, read in open_reads:
            bench.scheduler.on_answer(source, read, bench.now)
            bench.scheduler.on_verified(source, got)
        open_reads.clear()
        bench.scheduler.take_unavailable()
    assert bench.scheduler.is_idle
