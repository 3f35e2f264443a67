"""Deliver messages between nodes: as calls after the latency, or as encoded bytes.

`Post` calls the receiving node directly, which is fast enough for large swarms.
`SessionPost` encodes every message with shoal's `SealedSession`, whose counterpart
decodes and checks it. A swarm has the same outcome with both.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.simulation.clock import Clock
from benchmarks.simulation.scenario import Scenario
from shoal.core.session.events import ChunkReceived
from shoal.core.session.sealed_session import SealedSession
from shoal.core.wire.sealed_messages import (
    Cancel,
    Have,
    Hello,
    Reason,
    Refuse,
    SealedRequest,
    response_frame,
)

if TYPE_CHECKING:
    from benchmarks.simulation.node import Link, Node

__all__ = ["Post", "SessionPost", "make_post"]

PORT = 4001
ROOT = 500  # bytes of a root record


class Post:
    """Deliver messages without encoding them."""

    def __init__(self, clock: Clock, scenario: Scenario) -> None:
        """Deliver messages after the latency of `scenario`."""
        self._clock = clock
        self._latency = scenario.latency

    def meet(self, one: "Node", other: "Node") -> None:
        """Note that two nodes are connected and exchange hello messages."""

    def request(self, by: "Node", of: "Node", indexes: Sequence[int | None]) -> None:
        """Deliver requests; None is a request for any chunk."""
        self._clock.later(self._latency, of.on_requested, by.number, indexes)

    def announce(
        self, by: "Node", announced: Sequence[tuple["Node", Sequence[int]]]
    ) -> None:
        """Deliver announcements of new chunks."""
        self._clock.later(self._latency, self._deliver_have, by, announced)

    def _deliver_have(
        self, by: "Node", announced: Sequence[tuple["Node", Sequence[int]]]
    ) -> None:
        for each, indexes in announced:
            if by.number in each.links:
                each.on_have(by.number, indexes)

    def cancel(self, by: "Node", of: "Node", index: int) -> None:
        """Deliver the cancellation of a request."""
        self._clock.later(self._latency, of.on_cancelled, by.number, index)

    def refuse(self, by: "Node", to: "Node", index: int | None, reason: str) -> None:
        """Deliver the refusal of a request."""
        is_busy = reason == Reason.BUSY
        self._clock.later(self._latency, to.on_refused, by.number, index, is_busy)

    def send_chunk(self, by: "Node", link: "Link", index: int) -> None:
        """Deliver a chunk to the node at the end `link` of a connection."""
        self._clock.later(self._latency, link.owner.on_chunk, link, index)


class SessionPost(Post):
    """Encode and decode all messages, as connections do."""

    def __init__(self, clock: Clock, scenario: Scenario) -> None:
        """Deliver messages after the latency of `scenario`; chunks consist of zeros."""
        super().__init__(clock, scenario)
        self._share = scenario.share
        self._data = bytes(scenario.chunk_size)
        self._sessions: dict[Link, SealedSession] = {}
        self.sent = 0
        """The bytes of all messages, without the data of chunks."""

    def meet(self, one: "Node", other: "Node") -> None:
        """Send a hello message in both directions."""
        for node, peer in ((one, other), (other, one)):
            session = self._sessions[node.links[peer.number]] = SealedSession()
            session.know_share(self._share, lambda key: False)
        for node, peer in ((one, other), (other, one)):
            session = self._session(node, peer)
            session.send(Hello(PORT, bytes(ROOT), bytes(node.have)))
            data = b"".join(session.data_to_send())
            assert len(self._read(peer.links[node.number], data)) == 1

    def request(self, by: "Node", of: "Node", indexes: Sequence[int | None]) -> None:
        """Send requests."""
        session = self._session(by, of)
        for index in indexes:
            if index is None:
                session.request_any()
            else:
                session.request(index)
        self._flush(by, of)

    def announce(
        self, by: "Node", announced: Sequence[tuple["Node", Sequence[int]]]
    ) -> None:
        """Send announcements of new chunks."""
        for each, indexes in announced:
            self._session(by, each).send_have(indexes)
            self._flush(by, each)

    def cancel(self, by: "Node", of: "Node", index: int) -> None:
        """Send the cancellation of a request."""
        self._session(by, of).cancel(index)
        self._flush(by, of)

    def refuse(self, by: "Node", to: "Node", index: int | None, reason: str) -> None:
        """Send the refusal of a request."""
        self._session(by, to).send(Refuse(index, reason))
        self._flush(by, to)

    def send_chunk(self, by: "Node", link: "Link", index: int) -> None:
        """Send a chunk; the receiver determines which request it answers."""
        header = response_frame(index, len(self._data))
        self.sent += len(header)
        data = header + self._data
        self._clock.later(self._latency, self._arrive, link, data)

    def _session(self, node: "Node", peer: "Node") -> SealedSession:
        return self._sessions[node.links[peer.number]]

    def _flush(self, by: "Node", to: "Node") -> None:
        data = b"".join(self._session(by, to).data_to_send())
        self.sent += len(data)
        link = to.links.get(by.number)
        if link is not None:
            self._clock.later(self._latency, self._arrive, link, data)

    def _read(self, link: "Link", data: bytes) -> list[Any]:
        """Return the events that the session of one end decodes from bytes."""
        session, events = self._sessions[link], []
        view = memoryview(data)
        while view:
            buffer = session.get_buffer()
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            events += session.buffer_updated(size)
            view = view[size:]
        return events

    def _arrive(self, link: "Link", data: bytes) -> None:
        """Process bytes at one end, unless the connection has ended."""
        node, number = link.owner, link.other.number
        if node.links.get(number) is not link:
            return
        events = self._read(link, data)
        wanted = [event.index for event in events if isinstance(event, SealedRequest)]
        if wanted:
            node.on_requested(number, wanted)
        for event in events:
            match event:
                case ChunkReceived(index=index):
                    assert event.was_any == (index not in link.owed)
                    assert len(event.data) == len(self._data)
                    node.on_chunk(link, index)
                case Have(ranges=ranges):
                    node.on_have(number, _listed(ranges))
                case Cancel(index=index):
                    node.on_cancelled(number, index)
                case Refuse(index=refused, reason=reason):
                    node.on_refused(number, refused, reason == Reason.BUSY)


def _listed(ranges: Iterable[tuple[int, int]]) -> list[int]:
    return [i for first, number in ranges for i in range(first, first + number)]


def make_post(clock: Clock, scenario: Scenario) -> Post:
    """Return the `Post` or `SessionPost` for a scenario."""
    return (SessionPost if scenario.sessions else Post)(clock, scenario)
