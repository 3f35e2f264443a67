"""One simulated shoal: it requests, receives, verifies, announces and serves chunks.

The product's own code decides: `Scheduler` (with its picker and windows),
`RequestQueue`, `Announcements` and `RarestFirst`. This module only joins them, as
`Download`, `Upload` and `Uploader` do around sockets and threads.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.simulation.clock import Clock
from benchmarks.simulation.network import Tally, Uplink, weight
from benchmarks.simulation.post import Post
from benchmarks.simulation.scenario import Scenario
from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.announcements import Announcements
from shoal.core.schedule.rarest import RarestFirst
from shoal.core.schedule.scheduler import Scheduler
from shoal.core.schedule.turns import Contributions, SendingLimit, Turns
from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS, RequestQueue
from shoal.core.session.sealed_session import ranges_of
from shoal.core.wire.sealed_messages import Cancel, Have, Reason, Refuse, SealedRequest
from shoal.swarm.swarm import TICK
from shoal.transfer.uploader import BATCH_SIZE

__all__ = ["Link", "Node"]

LEAST_WAIT = 0.001  # seconds between checks for peers to announce chunks to
REQUEST = weight(SealedRequest(999))
RESPONSE = weight(SealedRequest(999)) + 16
CANCEL = weight(Cancel(999))
REFUSE = weight(Refuse(999, Reason.MISSING))
HAVE = weight(Have([(999, 1)]))
RANGE = weight(Have([(999, 1), (999, 1)])) - HAVE


class Link:
    """One end of a connection."""

    def __init__(self, owner: "Node", other: "Node") -> None:
        self.owner = owner
        self.other = other
        self.have = Bitfield.from_bytes(bytes(other.have), other.have.size)
        self.wants = RequestQueue()
        # Requested by index, not answered: these are what a chunk answers first.
        self.owed: Counter[int] = Counter()
        self.sending: list[int] = []  # passed to the connection
        self.is_waiting = False  # waiting for its turn

    def settle(self, index: int) -> bool:
        """Note an answer; return True if that chunk was requested by its index."""
        if index not in self.owed:
            return False
        self.owed[index] -= 1
        if not self.owed[index]:
            del self.owed[index]
        return True


class Node:
    """Download and serve, or serve from the start."""

    def __init__(
        self,
        number: int,
        scenario: Scenario,
        clock: Clock,
        rng: Random,
        tally: Tally,
        post: Post,
        rate: float,
        *,
        is_full: bool,
        is_liar: bool = False,
    ) -> None:
        """Start without peers; `rate` is that of the uplink, in bytes per second."""
        count = scenario.chunks
        self.number = number
        self.have = Bitfield.full(count) if is_full else Bitfield(count)
        """The chunks that the node has."""
        self.links: dict[int, Link] = {}
        """Connected peers by number."""
        self.is_liar = is_liar
        self.is_gone = False
        self.finished: float | None = None
        """When the download was complete, in simulated seconds."""
        self.sent = 0
        """Chunks given."""
        self.wasted = 0
        """The number of chunks received again."""
        self.wrong = 0
        """The number of chunks received that did not verify."""
        self.uplink: Uplink = Uplink(clock, rate, self._on_sent)
        self.on_wrong_chunk: Callable[[int], None] | None = None
        """Called with the number of a peer whose chunk did not verify."""
        self.on_verified: Callable[[], None] | None = None
        """Called for each new chunk."""
        self._post = post
        self._chunk_size = scenario.chunk_size
        self._clock = clock
        self._rng = rng
        self._tally = tally
        self._scheduler: Scheduler[int] | None = None
        if not is_full:
            self._scheduler = Scheduler(scenario.share, Bitfield(count), rng)
        self._rarest: RarestFirst[int] | None = None
        self._turns: deque[Link] = deque()
        # Every neighbour is counted, also by a source that never chooses.
        self._contributions: Contributions[int] = Contributions(
            lambda: self.have.is_complete
        )
        self._limit: SendingLimit[Link] = SendingLimit()
        self._order: Turns[Link] = Turns(
            lambda link: self._contributions.rank(link.other.number)
        )
        self._announcements: Announcements[int] = Announcements(
            self.have,
            lambda peer: self.links[peer].have,
            self._contributions.rank,
        )
        self._wakes_at = 0.0  # to announce again
        self._commit = max(1, scenario.committed // scenario.chunk_size)
        self._batch = max(1, BATCH_SIZE // scenario.chunk_size)

    def begin(self) -> None:
        """Start a download."""
        if self._scheduler is not None:
            self._clock.later(self._rng.random() * TICK, self._on_tick)

    # Connections.

    def meet(self, other: "Node") -> None:
        """Connect with a peer, whose chunks are known."""
        link = self.links[other.number] = Link(self, other)
        self._announcements.on_peer_joined(other.number)
        self._contributions.on_peer_joined(other.number, link.have)
        if self._rarest is not None:
            self._rarest.on_peer_joined(other.number, link.have)
        if self._scheduler is not None and self.finished is None:
            # Both use the same bitfield, which the picker updates.
            self._scheduler.add(
                other.number, link.have, can_choose=True, most=MAX_QUEUED_REQUESTS
            )

    def greet(self, number: int) -> None:
        """Send the first requests to a connected peer."""
        if self._scheduler is not None and self.finished is None:
            self._request(number)

    def part(self, number: int) -> None:
        """Disconnect from a peer."""
        link = self.links.pop(number, None)
        if link is None:
            return
        if link.sending:
            self.uplink.stop(link)
            link.sending.clear()
            self._limit.on_finished(link)
        if link.is_waiting:
            self._turns.remove(link)
        self._announcements.on_peer_left(number)
        self._contributions.remove(number)
        if self._rarest is not None:
            self._rarest.on_peer_left(number)
        if self._scheduler is not None and self._scheduler.remove(number):
            self._request_all()
        self._serve()

    # Scheduler, as in Transfer.

    def _request(self, source: int) -> None:
        scheduler = self._scheduler
        if scheduler is None or source not in scheduler:
            return
        room = scheduler.room(source, 0)
        if room <= 0:
            return
        number, indexes = scheduler.next_requests(source, room, self._clock.now)
        count = number + len(indexes)
        if count:
            self._tally.add("request", REQUEST * count, count)
            self.uplink.debt += REQUEST * count
            requests: list[int | None] = [None] * number
            requests.extend(indexes)
            self.links[source].owed.update(indexes)
            self._post.request(self, self.links[source].other, requests)

    def _request_all(self) -> None:
        if self.finished is None and self._scheduler is not None:
            for source in self._scheduler.sources:
                self._request(source)

    def _request_due(self) -> None:
        if self.finished is None and self._scheduler is not None:
            for source in self._scheduler.due():
                self._request(source)

    def _on_tick(self) -> None:
        scheduler = self._scheduler
        if self.finished is not None or self.is_gone or scheduler is None:
            return
        now = self._clock.now
        for number, link in self.links.items():
            mine = link.other.links.get(self.number)
            if mine is not None and mine.sending:
                scheduler.on_heard(number, now)  # some bytes of a chunk
        scheduler.on_tick(now)
        self._request_due()
        self._clock.later(TICK, self._on_tick)

    def on_have(self, source: int, indexes: Sequence[int]) -> None:
        """Note chunks that a peer announces."""
        for index in indexes:
            self._contributions.on_have(source, index)
        if self._rarest is not None:
            for index in indexes:
                self._rarest.on_have(source, index)
        scheduler = self._scheduler
        if self.finished is None and scheduler is not None:
            scheduler.on_heard(source, self._clock.now)
            if scheduler.on_have(source, indexes):
                self._request(source)
        else:
            have = self.links[source].have
            for index in indexes:
                have.add(index)

    def on_refused(self, source: int, index: int | None, is_busy: bool) -> None:
        """Note that a peer refused a request."""
        if index is not None and source in self.links:
            self.links[source].settle(index)
        if self._scheduler is not None and source in self._scheduler:
            self._scheduler.on_refused(source, index, self._clock.now, is_busy=is_busy)
            self._request(source)

    def on_chunk(self, link: Link, index: int) -> None:
        """Note a chunk that arrived on one of our connections."""
        scheduler, source = self._scheduler, link.other.number
        if self.links.get(source) is not link or scheduler is None:
            return
        now, was_any = self._clock.now, not link.settle(index)
        scheduler.on_heard(source, now)
        if not scheduler.on_answer(source, index, now, was_any=was_any):
            self.wasted += 1
            if self.finished is None:
                self._request(source)
            return
        if link.other.is_liar:
            self.wrong += 1
            scheduler.on_failed(index)
            assert self.on_wrong_chunk is not None
            self.on_wrong_chunk(source)
            self._request_all()
            return
        for number in scheduler.on_verified(index, source):
            self._count("cancel", CANCEL)
            self._post.cancel(self, self.links[number].other, index)
        self._contributions.on_verified(source)
        self._on_right(index)
        if self.finished is None:
            self._request(source)
            self._request_due()

    def _on_right(self, index: int) -> None:
        assert self._scheduler is not None
        self.have.add(index)
        if self._rarest is not None:
            self._rarest.add(index)
        if self._scheduler.is_complete:
            self.finished = self._clock.now
        self._announcements.on_chunks([index])
        self._announce()
        assert self.on_verified is not None
        self.on_verified()

    def _announce(self) -> None:
        if self.is_gone or self._scheduler is None:
            return
        now = self._clock.now
        announced: list[tuple[Node, Sequence[int]]] = []
        size = 0
        for number, indexes in self._announcements.due(now):
            if len(indexes) > 1 and not isinstance(indexes, range):
                indexes = sorted(indexes)  # as ranges are
            announced.append((self.links[number].other, indexes))
            size += HAVE
            if len(indexes) > 1:
                size += RANGE * (len(ranges_of(indexes)) - 1)
        if announced:
            self._tally.add("have", size, len(announced))
            self.uplink.debt += size
            self._post.announce(self, announced)
        again = self._announcements.due_at(now)
        if again is not None and self._wakes_at <= now:
            self._wakes_at = max(again, now + LEAST_WAIT)
            self._clock.at(self._wakes_at, self._announce)

    def _count(self, kind: str, size: int) -> None:
        self._tally.add(kind, size)
        self.uplink.debt += size

    # Giving, as in Giving, SealedPeer and Uploader.

    def on_requested(self, receiver: int, indexes: Sequence[int | None]) -> None:
        """Note the requests of a peer; None is a request for any chunk."""
        link = self.links.get(receiver)
        if link is None:
            return
        for index in indexes:
            reason = link.wants.add(index, self.have.__contains__)
            if reason is not None:
                self._refuse(link, index, reason)
        if link.wants.requests:
            self._announcements.on_receiving(receiver, self._clock.now)
        self._wake(link)

    def on_cancelled(self, receiver: int, index: int) -> None:
        """Note the requests that a peer cancels."""
        link = self.links.get(receiver)
        if link is not None:
            link.wants.cancel(index)
            if not link.wants.requests and not link.sending:
                if self._announcements.on_served(receiver, self._clock.now):
                    self._announce()

    def _refuse(self, link: Link, index: int | None, reason: str) -> None:
        self._count("refuse", REFUSE)
        self._post.refuse(self, link.other, index, reason)

    def _wake(self, link: Link) -> None:
        if link.wants.requests and not link.is_waiting:
            link.is_waiting = True
            self._turns.append(link)
        self._serve()

    def _serve(self) -> None:
        """Send a batch to each peer in turn until no connection accepts more."""
        turns = self._turns
        while turns:
            if not self._limit.has_room(self._clock.now):
                return
            link = self._order.take(turns)
            link.is_waiting = False
            if len(link.sending) >= self._commit:
                continue
            self._serve_one(link)
            if link.wants.requests:
                link.is_waiting = True
                turns.append(link)

    def _serve_one(self, link: Link) -> None:
        was_idle = not link.sending
        given = 0
        while link.wants.requests and given < self._batch:
            index, _ = link.wants.take(lambda: self._choose(link.other.number))
            if index is None:
                self._refuse(link, None, Reason.NOTHING)
                continue
            assert isinstance(index, int)  # no node of the simulation requests blocks
            self._note_sent(link.other.number, index)
            link.sending.append(index)
            given += 1
        if was_idle and link.sending:
            self._limit.on_started(link, self._clock.now)
            self.uplink.start(link, self._chunk_size + RESPONSE)

    def _note_sent(self, receiver: int, index: int) -> None:
        if self._rarest is not None:
            self._rarest.on_sent(receiver, index)
            is_first = self._rarest.level(index) == 1
            self._contributions.on_sent(receiver, index, is_first=is_first)

    def _choose(self, receiver: int) -> int | None:
        if self._rarest is None:
            self._rarest = RarestFirst(self.have, self._rng)
            for number, link in self.links.items():
                self._rarest.on_peer_joined(number, link.have)
        return self._rarest.next_for(receiver)

    def _on_sent(self, links: Sequence[Link]) -> None:
        for link in links:
            index = link.sending.pop(0)
            self.sent += 1
            self._limit.on_sent(self._chunk_size, self._clock.now)
            self._tally.add("response", RESPONSE)
            theirs = link.other.links.get(self.number)
            if theirs is not None:
                self._post.send_chunk(self, theirs, index)
            if link.sending:
                self.uplink.start(link, self._chunk_size + RESPONSE)
            else:
                self._limit.on_finished(link)
        now = self._clock.now
        for link in links:
            self._wake(link)
            number = link.other.number
            if not link.sending and self._announcements.on_served(number, now):
                self._announce()
