"""All nodes of a simulated swarm: when they arrive, connect, leave and lie.

shoal's own `PeerBook` decides which of the reported addresses to dial.
"""

from random import Random

from benchmarks.simulation.clock import Clock
from benchmarks.simulation.network import Tally, weight
from benchmarks.simulation.node import Node
from benchmarks.simulation.post import PORT, ROOT, make_post
from benchmarks.simulation.scenario import Scenario
from shoal.core.names.address import Address
from shoal.core.peerbook import PeerBook
from shoal.core.wire.sealed_messages import MAX_PEERS, Hello, Peers
from shoal.transfer.dialler import MAX_DIALS

__all__ = ["Crowd"]

SETUP_TRIPS = 6  # one-way trips until both ends have heard of each other, with TCP's
SETUP = 149  # bytes of knock, answer and confirmation
FOUND = 50  # addresses that discovery reports at once
LOOKUPS = (0.0, 1.0, 3.0, 9.0, 27.0)  # seconds after its arrival


class Crowd:
    """Simulate downloads of one share by many nodes."""

    def __init__(self, scenario: Scenario) -> None:
        """Prepare all nodes; none has arrived yet."""
        self.scenario = scenario
        self.clock = Clock()
        self.tally = Tally()
        self.post = make_post(self.clock, scenario)
        self._rng = rng = Random(scenario.seed)
        self.source = self._make(0, scenario.source_rate, is_full=True)
        self.downloaders = [
            self._make(1 + number, rate)
            for number, rate in enumerate(scenario.rates(rng))
        ]
        liars = round(scenario.liars * scenario.downloaders)
        self.liars = [
            self._make(
                1 + scenario.downloaders + number,
                scenario.source_rate,
                is_full=True,
                is_liar=True,
            )
            for number in range(liars)
        ]
        leavers = round(scenario.leavers * scenario.downloaders)
        self.leavers = frozenset(
            node.number for node in rng.sample(self.downloaders, leavers)
        )
        self.banned = 0
        """The number of connections that ended because of a wrong chunk."""
        self._left = scenario.downloaders - leavers  # those that want all chunks
        self._books = [PeerBook(rng) for _ in self.nodes]
        self._dialling = [0] * len(self.nodes)
        self._addresses = [Address(f"{n}", PORT) for n in range(len(self.nodes))]
        self._present: list[int] = []

    @property
    def nodes(self) -> list[Node]:
        """Return all nodes."""
        return [self.source, *self.downloaders, *self.liars]

    def _make(
        self, number: int, rate: float, *, is_full: bool = False, is_liar: bool = False
    ) -> Node:
        node = Node(
            number,
            self.scenario,
            self.clock,
            self._rng,
            self.tally,
            self.post,
            rate,
            is_full=is_full,
            is_liar=is_liar,
        )
        node.on_wrong_chunk = lambda liar: self._on_lie(node, liar)
        node.on_verified = lambda: self._on_verified(node)
        return node

    def run(self, until: float) -> bool:
        """Run until all downloads are complete; return False at the time `until`."""
        self._nodes = self.nodes
        self._arrive(self.source)
        for node in self._nodes[1:]:
            when = self._rng.random() * self.scenario.arrival
            self.clock.at(when, self._arrive, node)
        self.clock.run(lambda: not self._left, until)
        return not self._left

    def _on_verified(self, node: Node) -> None:
        if node.number in self.leavers:
            if 2 * node.have.count >= node.have.size and not node.is_gone:
                self._leave(node)
        elif node.finished is not None:
            self._left -= 1

    # Arriving and leaving.

    def _arrive(self, node: Node) -> None:
        self._present.append(node.number)
        node.begin()
        for wait in LOOKUPS:
            self.clock.later(wait, self._look_up, node)

    def _leave(self, node: Node) -> None:
        node.is_gone = True
        self._present.remove(node.number)
        for number in list(node.links):
            self._disconnect(node, number)

    def _look_up(self, node: Node) -> None:
        """Have discovery report some of the nodes."""
        number = min(FOUND, len(self._present))
        self._hear(node, self._rng.sample(self._present, number), "dht")

    def _hear(self, node: Node, numbers: list[int], source: str) -> None:
        book = self._books[node.number]
        for number in numbers:
            if number != node.number:
                book.add(self._addresses[number], source)
        self._dial(node)

    # Connecting.

    def _dial(self, node: Node) -> None:
        """Dial as `Acquaintances` does."""
        if node.is_gone or node.is_liar or node.finished is not None:
            return
        dialling = self._dialling[node.number]
        wanted = self.scenario.neighbours // 2 - len(node.links) - dialling
        slots = min(MAX_DIALS - dialling, wanted)
        if slots <= 0:
            return
        book = self._books[node.number]
        for address in book.next_dials(self.clock.now, slots):
            self._dialling[node.number] += 1
            trips = SETUP_TRIPS * self.scenario.latency
            self.clock.later(trips, self._connect, node, int(address.host))
        if len(node.links) + self._dialling[node.number] < 3:
            self.clock.later(1.0, self._dial, node)

    def _connect(self, node: Node, number: int) -> None:
        self._dialling[node.number] -= 1
        other, most = self._nodes[number], self.scenario.neighbours
        is_full = len(other.links) >= most or len(node.links) >= most
        if node.is_gone or other.is_gone or is_full or number in node.links:
            self._books[node.number].on_lost(self._addresses[number], self.clock.now)
        else:
            self._books[node.number].on_ready(self._addresses[number])
            self.tally.add("setup", SETUP)
            for each in (node, other):
                hello = Hello(PORT, bytes(ROOT), bytes(each.have))
                self.tally.add("hello", weight(hello))
            node.meet(other)
            other.meet(node)
            self.post.meet(node, other)
            node.greet(number)
            other.greet(node.number)
            self._introduce(node, other)
            self._introduce(other, node)
        self._dial(node)

    def _introduce(self, node: Node, newcomer: Node) -> None:
        """Report a new peer to the others and them to it, as `Connections` does."""
        others = [n for n in node.links if n != newcomer.number][-MAX_PEERS:]
        for receiver, named in [
            (newcomer, others),
            *((self._nodes[n], [newcomer.number]) for n in others),
        ]:
            if named:
                listed = [("10.123.123.123", PORT)] * len(named)
                self.tally.add("peers", weight(Peers(listed)))
                latency = self.scenario.latency
                self.clock.later(latency, self._hear, receiver, named, "peer")

    def _disconnect(self, node: Node, number: int) -> None:
        other = self._nodes[number]
        node.part(number)
        self.clock.later(self.scenario.latency, self._on_lost, other, node.number)

    def _on_lost(self, node: Node, number: int) -> None:
        node.part(number)
        self._books[node.number].on_lost(self._addresses[number], self.clock.now)
        self._dial(node)

    def _on_lie(self, node: Node, liar: int) -> None:
        self.banned += 1
        self._books[node.number].ban(self._addresses[liar], self.clock.now)
        self._disconnect(node, liar)
        self._books[node.number].on_lost(self._addresses[liar], self.clock.now)
        self._dial(node)
