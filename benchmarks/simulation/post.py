"""How what one node says gets to another: at once after the latency, or as bytes.

`Post` hands over what was meant, which is what large crowds can afford. `SessionPost`
has every word encoded by the product's `SealedSession`, and decoded and checked by the
one at the other end; the same crowd comes to the same end with either.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.simulation.clock import Clock
from benchmarks.simulation.scenario import Scenario
from shoal.core.session.sealed_session import SealedSession
from shoal.core.session.session import ChunkReceived
from shoal.core.wire.messages import response_header
from shoal.core.wire.sealed_messages import Ask, Cancel, Have, Hello, Reason, Refuse

if TYPE_CHECKING:
    from benchmarks.simulation.node import Link, Node

__all__ = ["Post", "SessionPost", "make_post"]

PORT = 4001
ROOT = 500  # bytes of a root record


class Post:
    """Hand over what was meant."""

    def __init__(self, clock: Clock, scenario: Scenario) -> None:
        """Deliver after the latency of `scenario`."""
        self._clock = clock
        self._latency = scenario.latency

    def meet(self, one: "Node", other: "Node") -> None:
        """Note two nodes that are connected and say hello to each other."""

    def ask(self, by: "Node", of: "Node", indexes: Sequence[int | None]) -> None:
        """Deliver requests; None is for any chunk."""
        self._clock.later(self._latency, of.on_wanted, by.number, indexes)

    def tell(self, by: "Node", told: Sequence[tuple["Node", Sequence[int]]]) -> None:
        """Deliver to each node which chunks are new."""
        self._clock.later(self._latency, self._tell, by, told)

    def _tell(self, by: "Node", told: Sequence[tuple["Node", Sequence[int]]]) -> None:
        for each, news in told:
            if by.number in each.links:
                each.on_have(by.number, news)

    def cancel(self, by: "Node", of: "Node", index: int) -> None:
        """Deliver that a chunk is not wanted any more."""
        self._clock.later(self._latency, of.on_cancelled, by.number, index)

    def refuse(self, by: "Node", to: "Node", index: int | None, reason: str) -> None:
        """Deliver that a chunk will not come."""
        is_busy = reason == Reason.BUSY
        self._clock.later(self._latency, to.on_refused, by.number, index, is_busy)

    def give(self, by: "Node", link: "Link", index: int, was_any: bool) -> None:
        """Deliver a chunk to the node whose end of the connection is `link`."""
        self._clock.later(self._latency, link.owner.on_chunk, link, index, was_any)


class SessionPost(Post):
    """Encode and decode all of it, as connections do."""

    def __init__(self, clock: Clock, scenario: Scenario) -> None:
        """Give chunks of zeros."""
        super().__init__(clock, scenario)
        self._share = scenario.share
        self._data = bytes(scenario.chunk_size)
        self._sessions: dict[Link, SealedSession] = {}
        self.sent = 0
        """Bytes of all messages, without the data of chunks."""

    def meet(self, one: "Node", other: "Node") -> None:
        """Say hello, and read the other's."""
        for node, peer in ((one, other), (other, one)):
            session = self._sessions[node.links[peer.number]] = SealedSession()
            session.know_share(self._share, 1)
        for node, peer in ((one, other), (other, one)):
            session = self._session(node, peer)
            session.send(Hello(PORT, bytes(ROOT), bytes(node.have)))
            data = b"".join(session.data_to_send())
            assert len(self._read(peer.links[node.number], data)) == 1

    def ask(self, by: "Node", of: "Node", indexes: Sequence[int | None]) -> None:
        """Send requests."""
        session = self._session(by, of)
        for index in indexes:
            if index is None:
                session.request_any()
            else:
                session.request(index)
        self._flush(by, of)

    def tell(self, by: "Node", told: Sequence[tuple["Node", Sequence[int]]]) -> None:
        """Send each node its news."""
        for each, news in told:
            self._session(by, each).send_have(news)
            self._flush(by, each)

    def cancel(self, by: "Node", of: "Node", index: int) -> None:
        """Take a request back."""
        self._session(by, of).cancel(index)
        self._flush(by, of)

    def refuse(self, by: "Node", to: "Node", index: int | None, reason: str) -> None:
        """Send a refusal."""
        self._session(by, to).send(Refuse(index, reason))
        self._flush(by, to)

    def give(self, by: "Node", link: "Link", index: int, was_any: bool) -> None:
        """Send a chunk; the other side finds out itself who chose it."""
        header = response_header(index, len(self._data))
        self.sent += len(header)
        data = header + self._data
        self._clock.later(self._latency, self._arrive, link, data, was_any)

    def _session(self, node: "Node", peer: "Node") -> SealedSession:
        return self._sessions[node.links[peer.number]]

    def _flush(self, by: "Node", to: "Node") -> None:
        data = b"".join(self._session(by, to).data_to_send())
        self.sent += len(data)
        link = to.links.get(by.number)
        if link is not None:
            self._clock.later(self._latency, self._arrive, link, data, None)

    def _read(self, link: "Link", data: bytes) -> list[Any]:
        """Return what bytes mean to the session of one end."""
        session, events = self._sessions[link], []
        view = memoryview(data)
        while view:
            buffer = session.get_buffer()
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            events += session.buffer_updated(size)
            view = view[size:]
        return events

    def _arrive(self, link: "Link", data: bytes, was_any: bool | None) -> None:
        """Act on bytes at one end, unless its connection is gone."""
        node, number = link.owner, link.other.number
        if node.links.get(number) is not link:
            return
        events = self._read(link, data)
        wanted = [event.index for event in events if isinstance(event, Ask)]
        if wanted:
            node.on_wanted(number, wanted)
        for event in events:
            match event:
                case ChunkReceived(index=index):
                    assert event.was_any == was_any
                    assert len(event.data) == len(self._data)
                    node.on_chunk(link, index, event.was_any)
                case Have(ranges=ranges):
                    node.on_have(number, _listed(ranges))
                case Cancel(index=index):
                    node.on_cancelled(number, index)
                case Refuse(index=refused, reason=reason):
                    node.on_refused(number, refused, reason == Reason.BUSY)


def _listed(ranges: Iterable[tuple[int, int]]) -> list[int]:
    return [i for first, number in ranges for i in range(first, first + number)]


def make_post(clock: Clock, scenario: Scenario) -> Post:
    """Return the post that a scenario asks for."""
    return (SessionPost if scenario.sessions else Post)(clock, scenario)
