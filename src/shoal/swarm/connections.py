"""The connections with the peers of one sealed share.

`Connections` makes them, for peers that dial us and for peers that we dial, keeps one
of two with the same node, passes addresses of peers on and bans peers that sent wrong
data. Which address to dial when is decided by its `Dialler`; what is said on a
connection is its handler's business.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator

from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, is_acceptable, scope_of
from shoal.core.report.status import path_of
from shoal.core.session.sealed_session import SealedSession
from shoal.core.wire.sealed_messages import MAX_PEERS
from shoal.errors import LyingPeerError, PeerError, PeerTimeoutError
from shoal.resources import Resources
from shoal.swarm.peer import Peer
from shoal.transfer.dialler import Dialler, Found
from shoal.transport.connection import Connection, Handler
from shoal.transport.sealed.proven import Dial, Factory, ProvenPeer

__all__ = ["Connections"]

SWARM = "swarm"  # the network of addresses that peers pass on
MAX_CONNECTIONS = 192  # with the peers of one share
MAX_PER_ADDRESS = 4  # connections from one global address
USE_TIME = 30.0  # seconds after its last chunk for which a peer keeps its place
GOODBYE_TIME = 0.25  # seconds that peers have to hang up once we have sent goodbye
STALL_LIMIT = 30.0  # seconds of silence after which a stalled peer is dropped


class Connections:
    """Keep the connections with the peers of one share; iterate over the peers."""

    def __init__(
        self,
        handler: Handler[SealedSession],
        dial: Dial,
        resources: Resources,
        node_id: bytes,
    ) -> None:
        """Start with no connection.

        `handler` acts on what peers send, `dial` connects to an address, `node_id` is
        our own.
        """
        self.peers: dict[Connection[SealedSession], Peer] = {}
        """Every peer that has proven the id and is connected."""
        self._handler = handler
        self._dial = dial
        self._resources = resources
        self._node_id = node_id
        self._dialler = Dialler(self._attempt, self._count_dialled, resources.rng)
        self._loop = asyncio.get_running_loop()
        self._is_leaving = False
        self._all_gone = asyncio.Event()  # set once we are leaving

    def __len__(self) -> int:
        return len(self.peers)

    def __iter__(self) -> Iterator[Peer]:
        """Yield every connected peer; the peers may change meanwhile."""
        return iter(list(self.peers.values()))

    @property
    def found(self) -> int:
        """Return how many peers are known, connected or not."""
        return max(len(self._dialler), len(self.peers))

    @property
    def has_only_liars(self) -> bool:
        """Return True if every address found is banned and no peer is connected."""
        return self._dialler.has_only_liars and not self.peers

    async def run(self, found: Iterable[Found]) -> None:
        """Dial the addresses found until cancelled; then close every connection."""
        try:
            await self._dialler.run(found)
        finally:
            for peer in self:
                peer.close()

    def know_share(self, manifest: Manifest) -> None:
        """Tell every session how many chunks and pages there are."""
        for connection in self.peers:
            connection.session.know_share(manifest.chunks, manifest.page_count)

    async def leave(self) -> None:
        """Send goodbye to every peer and wait `GOODBYE_TIME` for them to hang up.

        Peers that connect from now on are refused.
        """
        self._is_leaving = True
        self._all_gone.clear()
        for peer in self:
            # Hello comes first, and we may not have sent it to a silent peer.
            if peer.is_greeted:
                peer.say_goodbye()
            else:
                peer.close()
        if self.peers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_TIME):
                    await self._all_gone.wait()

    # Connections start.

    def accept(self, proven: ProvenPeer) -> Connection[SealedSession]:
        """Return the connection for a peer that dialled us and has proven the id.

        If there are too many connections, an idle one is closed. Raises `PeerError` if
        there is none, or if too many come from the same address.
        """
        host = proven.address.host
        same = sum(peer.connection.address.host == host for peer in self)
        if same >= MAX_PER_ADDRESS and scope_of(host) is Scope.GLOBAL:
            raise PeerError("too many connections from one address")
        if sum(not each.is_closing for each in self.peers) >= MAX_CONNECTIONS:
            self._make_room()
        return self._make(proven, None, "incoming")

    def _make_room(self) -> None:
        """Close one idle connection of a peer that dialled us.

        A peer that has never sent or received a chunk goes first, and of those the one
        connected longest: so peers that only hold places gain nothing by being many,
        and each new peer has its chance. Raises `PeerError` if none is idle.
        """
        latest = self._loop.time() - USE_TIME
        idle = [
            peer
            for peer in self
            if peer.dialled is None
            and not peer.connection.is_closing
            and peer.last_use <= latest
        ]
        if not idle:
            raise PeerError("too many connections")
        # Of equals the first in the order of connecting.
        leaving = min(idle, key=lambda peer: peer.last_use)
        if leaving.is_greeted:
            leaving.say_goodbye()
        leaving.close()

    def _count_dialled(self) -> int:
        """Return how many connections we dialled; only these fill the dialler."""
        return sum(peer.dialled is not None for peer in self.peers.values())

    async def _attempt(self, address: Address, source: str) -> None:
        await self._dial(address, self._factory(address, source))

    def _factory(self, address: Address, source: str) -> Factory:
        # A peer's port is a claim: it must not keep us from an address that anyone but
        # other peers has named.
        if source == SWARM and address in {peer.address for peer in self}:
            raise PeerError(f"{address} has dialled us")
        return lambda proven: self._make(proven, address, source)

    def _make(
        self, proven: ProvenPeer, dialled: Address | None, source: str
    ) -> Connection[SealedSession]:
        if self._is_leaving:
            raise PeerError("we are about to leave")
        for other in self:
            if other.node_id == proven.node_id:
                self._keep_one(other, proven.address, dialled)
        connection = Connection(SealedSession(self._resources.buffers), self._handler)
        self.peers[connection] = Peer(
            connection,
            proven.node_id,
            dialled=dialled,
            source=source,
            path=path_of(source, proven.address.host),
            counters=self._resources.counters,
        )
        return connection

    def _keep_one(self, other: Peer, address: Address, dialled: Address | None) -> None:
        """Close one of two connections that crossed, if that is ours to do.

        Only the node that dialled a connection closes it, and of the two nodes the one
        with the larger id (docs/protocol.md, "Duplicate connections"). A node id is a
        claim, so the hosts must agree as well. Raises `PeerError` if the new connection
        is the one to close.
        """
        if self._node_id < other.node_id or (dialled and other.dialled):
            return
        if dialled is not None and other.connection.address.host == address.host:
            raise PeerError(f"{dialled} has dialled us")
        if other.dialled is not None and other.dialled.host == address.host:
            other.close()

    # Connections end.

    def remove(
        self, connection: Connection[SealedSession], error: Exception | None
    ) -> Peer | None:
        """Forget a connection that has ended; return its peer."""
        peer = self.peers.pop(connection, None)
        if peer is not None:
            if isinstance(error, LyingPeerError):
                self._dialler.ban(peer.address)
            if peer.dialled is not None:
                if peer.has_left:
                    self._dialler.on_left(peer.dialled)
                else:
                    self._dialler.on_lost(peer.dialled)
            if not self.peers:
                self._all_gone.set()
        return peer

    def on_greeted(self, peer: Peer) -> None:
        """Reset the back-off of an address whose peer has sent hello."""
        if peer.dialled is not None:
            self._dialler.on_ready(peer.dialled)

    def ban(self, peer: Peer, error: LyingPeerError) -> None:
        """Ban a peer that sent data which did not verify, and close its connection."""
        self._dialler.ban(peer.address)
        peer.close(error)

    def is_banned(self, peer: Peer) -> bool:
        """Return True if connections with a peer's address are refused."""
        return self._dialler.is_banned(peer.address)

    def drop_slower(self) -> None:
        """Of two connections that we dialled to one node, close the slower.

        Only once both have sent a chunk: a node id can be copied, and the connection
        that has sent none may be the honest one.
        """
        best: dict[bytes, Peer] = {}
        for peer in sorted(self, key=lambda peer: -peer.verified):
            if peer.dialled is None or not peer.verified:
                continue
            if best.setdefault(peer.node_id, peer) is not peer:
                peer.close()

    def watch_silence(self, peer: Peer) -> None:
        """Drop a stalled peer if it stays silent for `STALL_LIMIT`."""
        self._loop.call_later(STALL_LIMIT, self._drop_if_silent, peer)

    def _drop_if_silent(self, peer: Peer) -> None:
        connection = peer.connection
        if not connection.is_closing:
            if self._loop.time() - connection.last_heard >= STALL_LIMIT:
                peer.close(PeerTimeoutError(f"{peer.address} stopped answering"))

    # Addresses are passed on.

    def introduce(self, newcomer: Peer) -> None:
        """Send a new peer the addresses of the others, and its address to them."""
        others = [peer for peer in self if peer is not newcomer and peer.port]
        newcomer.introduce([each.address for each in others[-MAX_PEERS:]])
        if newcomer.port:
            for each in others[-MAX_PEERS:]:
                each.introduce([newcomer.address])

    def add_addresses(
        self, peer: Peer, addresses: Iterable[tuple[str, int]], wait: float
    ) -> None:
        """Dial, in `wait` seconds, the addresses from a peer that are believable."""
        host = peer.connection.address.host
        for each in addresses:
            address = Address(*each)
            if is_acceptable(address, host):
                self._dialler.add(address, SWARM, wait)
