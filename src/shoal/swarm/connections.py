"""Who is in the swarm of one sealed share with us, and by which connection.

`Roster` owns the connections of one share: it makes them, for who dials us as for
whom we dial, keeps one of two with the same node, passes addresses on and remembers
who lied. What is said on them is its handler's business.
"""

import asyncio
import contextlib
from collections.abc import Iterable

from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, is_believable, scope_of
from shoal.core.report.status import path_of
from shoal.core.session.sealed_session import SealedSession
from shoal.core.wire.sealed_messages import MAX_PEERS
from shoal.errors import LyingPeerError, PeerError, PeerTimeoutError
from shoal.resources import Means
from shoal.swarm.acquaintances import Acquaintances
from shoal.swarm.peer import Offers, SealedPeer
from shoal.transfer.dialler import Found
from shoal.transport.connection import Connection, Handler
from shoal.transport.sealed.proven import Dial, Factory, ProvenPeer

__all__ = ["Roster"]

SWARM = "swarm"  # the network of addresses that peers pass on
MAX_CONNECTIONS = 192  # with the peers of one share
MAX_PER_ADDRESS = 4  # connections from one global address
USE_TIME = 30.0  # seconds after it gave or took some for which a peer keeps its place
GOODBYE_TIME = 0.25  # seconds that peers have to hang up once we said goodbye
# Whoever lacks something dials whom it hears of at once. So who lacks nothing leaves it
# the time: two that dial each other waste a handshake, when there is most to do.
WHOLE_WAIT = 1.0  # seconds until who has everything dials whom it hears of
STALL_LIMIT = 30.0  # seconds of silence after which a stalled peer is dropped


class Roster:
    """Keep the connections with the peers of one share."""

    def __init__(
        self,
        handler: Handler[SealedSession],
        dial: Dial,
        means: Means,
        giving: Offers,
    ) -> None:
        """Begin with nobody; `giving` knows what we have."""
        self.peers: dict[Connection[SealedSession], SealedPeer] = {}
        """Everybody who has proved the id and is connected."""
        self._handler = handler
        self._means = means
        self._giving = giving
        self._known = Acquaintances(dial, self._factory, self._count_dialled, means.rng)
        self._loop = asyncio.get_running_loop()
        self._is_leaving = False
        self._gone = asyncio.Event()  # everybody, once we are leaving

    def __len__(self) -> int:
        return len(self.peers)

    @property
    def found(self) -> int:
        """Return how many peers are known, connected or not."""
        return max(self._known.found, len(self.peers))

    @property
    def has_only_liars(self) -> bool:
        """Say whether all that was found turned out to lie."""
        return self._known.has_only_liars and not self.peers

    async def run(self, found: Iterable[Found]) -> None:
        """Dial what is found until cancelled; then close every connection."""
        try:
            await self._known.run(found)
        finally:
            for peer in list(self.peers.values()):
                peer.close()

    def know_share(self, manifest: Manifest) -> None:
        """Know in every conversation what there is to ask for."""
        for connection in self.peers:
            connection.session.know_share(manifest.chunks, manifest.page_count)

    async def leave(self) -> None:
        """Say goodbye to everybody, and wait until they hang up; not for long.

        Whoever would join from now on is turned away.
        """
        self._is_leaving = True
        self._gone.clear()
        for peer in list(self.peers.values()):
            # To who has said nothing we may not have said hello, which comes first.
            if peer.is_greeted:
                peer.say_goodbye()
            else:
                peer.close()
        if self.peers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_TIME):
                    await self._gone.wait()

    # Connections begin.

    def accept(self, proven: ProvenPeer) -> Connection[SealedSession]:
        """Return the connection for a peer that dialled us and proved the id.

        When there are too many, another makes room. Raises `PeerError` when none can,
        or when there are too many of its address.
        """
        host = proven.address.host
        same = sum(p.connection.address.host == host for p in self.peers.values())
        if same >= MAX_PER_ADDRESS and scope_of(host) is Scope.GLOBAL:
            raise PeerError("too many connections from one address")
        if sum(not each.is_closing for each in self.peers) >= MAX_CONNECTIONS:
            self._make_room()
        return self._make(proven, None, "incoming")

    def _make_room(self) -> None:
        """Have one go that dialled us and is of no use; raises `PeerError`.

        Who has never given or taken anything goes first, and of those whoever has
        been here longest: so those who only hold places get nowhere by being many,
        and each newcomer has its chance to be of use.
        """
        latest = self._loop.time() - USE_TIME
        idle = [
            peer
            for connection, peer in self.peers.items()
            if peer.dialled is None
            and not connection.is_closing
            and peer.last_use <= latest
        ]
        if not idle:
            raise PeerError("too many connections")
        # Of equals the first in the order of their coming.
        self._send_away(min(idle, key=lambda peer: peer.last_use))

    def _send_away(self, peer: SealedPeer) -> None:
        """End the conversation with a peer that did nothing wrong."""
        # To who has said nothing we may not have said hello, which comes first.
        if peer.is_greeted:
            peer.say_goodbye()
        peer.close()

    def _count_dialled(self) -> int:
        """Return how many we dialled: those who dial us take nobody's place there."""
        return sum(peer.dialled is not None for peer in self.peers.values())

    def _factory(self, address: Address, source: str) -> Factory:
        # What a peer says of its port is a claim: it keeps us from no address that
        # anybody but other peers has named.
        if source == SWARM and address in {p.address for p in self.peers.values()}:
            raise PeerError(f"{address} has dialled us")
        return lambda proven: self._make(proven, address, source)

    def _make(
        self, proven: ProvenPeer, dialled: Address | None, source: str
    ) -> Connection[SealedSession]:
        if self._is_leaving:
            raise PeerError("we are about to leave")
        for other in list(self.peers.values()):
            if other.node_id == proven.node_id:
                self._keep_one(other, proven.address, dialled)
        connection = Connection(SealedSession(self._means.pool), self._handler)
        self.peers[connection] = SealedPeer(
            connection,
            proven.node_id,
            dialled=dialled,
            source=source,
            path=path_of(source, proven.address.host),
            giving=self._giving,
            tally=self._means.tally,
        )
        return connection

    def _keep_one(
        self, other: SealedPeer, address: Address, dialled: Address | None
    ) -> None:
        """Close one of two connections that crossed, if that is ours to do.

        Only who dialled a connection closes it, and of the two nodes the one with
        the larger id. A node id is a claim, so they must also agree on the host.
        Raises `PeerError` when it is the new one.
        """
        if self._means.node_id < other.node_id or (dialled and other.dialled):
            return
        if dialled is not None and other.connection.address.host == address.host:
            raise PeerError(f"{dialled} has dialled us")
        if other.dialled is not None and other.dialled.host == address.host:
            other.close()

    # Connections end.

    def remove(
        self, connection: Connection[SealedSession], error: Exception | None
    ) -> SealedPeer | None:
        """Forget a connection that has ended; return whose it was."""
        peer = self.peers.pop(connection, None)
        if peer is not None:
            if isinstance(error, LyingPeerError):
                self._known.ban(peer.address)
            if peer.dialled is not None:
                if peer.has_left:
                    self._known.on_left(peer.dialled)
                else:
                    self._known.on_lost(peer.dialled)
            if not self.peers:
                self._gone.set()
        return peer

    def on_greeted(self, peer: SealedPeer) -> None:
        """Forgive the failures of an address: it speaks as it should."""
        if peer.dialled is not None:
            self._known.on_ready(peer.dialled)

    def ban(self, peer: SealedPeer, error: LyingPeerError) -> None:
        """Leave a peer alone that sent what does not verify."""
        self._known.ban(peer.address)
        peer.close(error)

    def is_banned(self, address: Address) -> bool:
        """Say whether a peer is left alone."""
        return self._known.is_banned(address)

    def drop_slower(self) -> None:
        """Of two connections that we dialled to one node, close the slower.

        Both have to have given something first: a node id can be copied, and what
        nobody has given may be the honest one.
        """
        best: dict[bytes, SealedPeer] = {}
        for peer in sorted(self.peers.values(), key=lambda p: -p.verified):
            if peer.dialled is None or not peer.verified:
                continue
            if best.setdefault(peer.node_id, peer) is not peer:
                peer.close()

    def watch_silence(self, peer: SealedPeer) -> None:
        """Drop a stalled peer if it stays silent."""
        self._loop.call_later(STALL_LIMIT, self._drop_if_silent, peer)

    def _drop_if_silent(self, peer: SealedPeer) -> None:
        connection = peer.connection
        if not connection.is_closing:
            if self._loop.time() - connection.last_heard >= STALL_LIMIT:
                peer.close(PeerTimeoutError(f"{peer.address} stopped answering"))

    # Addresses are passed on.

    def introduce(self, newcomer: SealedPeer) -> None:
        """Tell a newcomer of the others, and them of it."""
        others = [p for p in self.peers.values() if p is not newcomer and p.port]
        newcomer.introduce([each.address for each in others[-MAX_PEERS:]])
        if newcomer.port:
            for each in others[-MAX_PEERS:]:
                each.introduce([newcomer.address])

    def on_addresses(
        self, peer: SealedPeer, addresses: Iterable[tuple[str, int]]
    ) -> None:
        """Note the addresses that a peer passed on, as far as it is believed."""
        host = peer.connection.address.host
        for each in addresses:
            address = Address(*each)
            if is_believable(address, host):
                wait = WHOLE_WAIT if self._giving.is_whole else 0.0
                self._known.add(address, SWARM, wait)
