"""The connections with the peers of one sealed share.

`Connections` makes them, for peers that dial us and for peers that we dial. It keeps
only one of two connections to the same node, dials addresses that peers name, and bans
peers that sent wrong data. Its `Dialler` decides which address to dial when, and the
handler of a connection acts on its messages.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from math import inf

from shoal.core.host_limits import ArrivalLimit
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address, named_address
from shoal.core.names.address_scope import Scope, host_key, scope_of
from shoal.core.peerbook import SWARM
from shoal.core.places import MAX_CONNECTIONS, Owner, most_crowded, places_of
from shoal.core.report.status import RELAYED
from shoal.core.session.sealed_session import SealedSession
from shoal.core.wire.sealed_messages import Meeting
from shoal.errors import LyingPeerError, PeerError, PeerTimeoutError
from shoal.resources import Resources
from shoal.swarm.peer import Peer
from shoal.transfer.dialler import Dialler, Found
from shoal.transport.connection import Connection, Handler
from shoal.transport.sealed.proven import Dial, Factory, ProvenPeer

__all__ = ["Connections"]

# Downloaders behind one NAT share an address, so only idle ones are limited by it.
MAX_IDLE_PER_ADDRESS = 16  # connections from one global address
USE_TIME = 30.0  # seconds after its last chunk for which a peer keeps its place
GOODBYE_TIME = 0.25  # seconds that peers have to hang up once we have sent goodbye
# A machine whose address changed leaves a dead connection behind for ten seconds.
SILENT_TIME = 3.0  # seconds without a byte after which a newer connection is kept
CROSSING_TIME = 5.0  # seconds in which two nodes may have dialled each other
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
        self._dialler = Dialler(
            self._attempt, self._count_dialled, resources.rng, resources.dials
        )
        self._loop = asyncio.get_running_loop()
        self._arrivals = ArrivalLimit()
        self._places = MAX_CONNECTIONS
        self._is_leaving = False
        self._all_gone = asyncio.Event()  # set once we are leaving
        # Addresses that turned out to be a node that was already connected.
        self._aliases: dict[Address, bytes] = {}

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
    def is_out_of_files(self) -> bool:
        """Return True if the last dial failed because no descriptor was left."""
        return self._dialler.is_out_of_files

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

    def on_caller(self) -> None:
        """Dial known peers at once if none is connected: earlier calls failed."""
        if not self.peers:
            self._dialler.dial_now()

    def know_share(self, manifest: Manifest) -> None:
        """Tell every session how many chunks there are; limit the places by that."""
        count = manifest.chunks.count
        self._places = self._dialler.most_peers = places_of(count)
        self._arrivals.know_size(count)
        for connection in self.peers:
            connection.session.know_share(manifest.chunks, manifest.root.may_have_page)
        for peer in sorted(self, key=lambda each: not each.is_greeted)[self._places :]:
            peer.close()

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

        If there are too many connections, or too many idle ones from its address, one
        is closed: an idle one, or otherwise one of the host and node id with the most.
        Raises `PeerError` if there is none, or if peers of this host arrive too often.
        """
        host, now = proven.address.host, self._loop.time()
        if not self._arrivals.admits(host, now):
            raise PeerError(f"{host} connects too often")
        latest = now - USE_TIME
        inbound = [p for p in self if p.dialled is None and not p.connection.is_closing]
        idle = [peer for peer in inbound if peer.last_use <= latest]
        if scope_of(host) is Scope.GLOBAL:
            old = (each for each in idle if each.connection.connected_at <= latest)
            same = [each for each in old if _owner_of(each)[0] == host_key(host)]
            if len(same) >= MAX_IDLE_PER_ADDRESS:
                self._close_one(same)
        if sum(not each.is_closing for each in self.peers) >= self._places:
            newcomer = host_key(host), proven.node_id
            self._close_one(idle or most_crowded(inbound, _owner_of, newcomer))
        return self._make(proven, None, RELAYED if proven.is_relayed else "incoming")

    def _close_one(self, peers: list[Peer]) -> None:
        """Close one of these connections; raises `PeerError` if there is none.

        A peer that has never sent or received a chunk goes first, and of those the one
        connected longest: so peers that only hold places gain nothing by being many,
        and each new peer has its chance.
        """
        if not peers:
            raise PeerError("too many connections")
        # Of equals the first in the order of connecting.
        leaving = min(peers, key=lambda peer: peer.last_use)
        if leaving.is_greeted:
            leaving.say_goodbye()
        leaving.close()

    def _count_dialled(self) -> int:
        """Return how many connections we dialled; only these fill the dialler."""
        return sum(peer.dialled is not None for peer in self.peers.values())

    async def _attempt(self, address: Address, source: str) -> None:
        node_id = self._aliases.get(address)
        if node_id is not None and any(peer.node_id == node_id for peer in self):
            raise PeerError(f"{address} is a node that is connected already")
        await self._dial(address, self._factory(address, source))

    def _factory(self, address: Address, source: str) -> Factory:
        # A peer's port is a claim: it must not keep us from an address that the user,
        # the link or discovery has named.
        if source == SWARM and address in {peer.address for peer in self}:
            raise PeerError(f"{address} has dialled us")
        return lambda proven: self._make(proven, address, source)

    def _make(
        self, proven: ProvenPeer, dialled: Address | None, source: str
    ) -> Connection[SealedSession]:
        if self._is_leaving:
            raise PeerError("we are about to leave")
        for other in self:
            if other.node_id == proven.node_id and not other.connection.is_closing:
                is_used = self._loop.time() - other.last_use < USE_TIME
                if proven.is_relayed and (other.is_relayed or is_used):
                    raise PeerError("a node that is connected already")
                if other.is_relayed:
                    continue  # `Relays` ends that connection when it can
                client = None if proven.is_server else dialled
                self._keep_one(other, proven.address.host, client)
        connection = Connection(SealedSession(self._resources.buffers), self._handler)
        self.peers[connection] = Peer(
            connection,
            proven,
            dialled=dialled,
            source=source,
            mappings=self._resources.networks.mappings,
            counters=self._resources.counters,
        )
        return connection

    def _keep_one(self, other: Peer, host: str, dialled: Address | None) -> None:
        """Close one of two connections with one node, if that is ours to do.

        `dialled` is None if the peer is the client of the new connection. Only the
        client closes a connection: of two that crossed, the node with the larger id;
        otherwise the newer one (docs/protocol.md, "Duplicate connections").
        A node id is a claim that any holder can copy, so a peer that has transferred
        nothing, or has another host, does not keep the node it claims to be from
        connecting. Raises `PeerError` if the new connection is the one to close.
        """
        age = self._loop.time() - other.connection.connected_at
        is_crossing = age < CROSSING_TIME and host == other.connection.address.host
        is_larger = self._node_id > other.node_id
        if dialled is None:
            if other.is_client and is_crossing and is_larger:
                self._close_duplicate(other)
        elif not other.is_client and is_crossing:
            if is_larger:
                self._aliases[dialled] = other.node_id
                raise PeerError(f"{dialled} has dialled us")
        elif other.last_use > -inf and not self._is_silent(other):
            self._aliases[dialled] = other.node_id
            raise PeerError(f"{dialled} is a node that is connected already")

    def drop_duplicates(self, *, is_complete: bool) -> None:
        """Of several connections with one node, close those we dialled but one.

        Of those that are not silent, the oldest that has transferred a chunk is kept,
        or the oldest if none has. The others are closed once it has transferred one,
        if our share `is_complete`, or once all have been idle for `USE_TIME`:
        before that, one of them may be with the honest node.
        """
        best: dict[bytes, Peer] = {}
        latest = self._loop.time() - USE_TIME

        def rank(peer: Peer) -> tuple[bool, bool, float]:
            is_unused = peer.last_use == -inf
            return self._is_silent(peer), is_unused, peer.connection.connected_at

        for peer in sorted((p for p in self if not p.is_relayed), key=rank):
            kept = best.setdefault(peer.node_id, peer)
            newer = max(kept.connection.connected_at, peer.connection.connected_at)
            is_late = newer <= latest
            if kept is not peer and (is_complete or kept.last_use > -inf or is_late):
                self._close_duplicate(peer)

    def _is_silent(self, peer: Peer) -> bool:
        return self._loop.time() - peer.connection.last_heard > SILENT_TIME

    def _close_duplicate(self, peer: Peer) -> None:
        if peer.dialled is not None and peer.is_client:
            self._aliases[peer.dialled] = peer.node_id
            peer.close()

    # Connections end.

    def remove(
        self, connection: Connection[SealedSession], error: Exception | None
    ) -> Peer | None:
        """Forget a connection that has ended; return its peer."""
        peer = self.peers.pop(connection, None)
        if peer is not None:
            if isinstance(error, LyingPeerError):
                self._note_liar(peer)
            if peer.dialled is not None:
                end = self._dialler.on_left if peer.has_left else self._dialler.on_lost
                end(peer.dialled)
            self._forget_aliases(peer)
            if not self.peers:
                self._all_gone.set()
        return peer

    def _forget_aliases(self, peer: Peer) -> None:
        """Dial the other addresses of a node again, once no connection is left."""
        if not any(other.node_id == peer.node_id for other in self):
            for address in [a for a, n in self._aliases.items() if n == peer.node_id]:
                del self._aliases[address]
                # That it was not dialled meanwhile is no failure of the node's.
                self._dialler.on_ready(address)
                self._dialler.on_lost(address)

    def on_greeted(self, peer: Peer) -> None:
        """Reset the back-off of an address whose peer has sent hello."""
        if peer.dialled is not None:
            self._dialler.on_ready(peer.dialled)

    def ban(self, peer: Peer, error: LyingPeerError) -> None:
        """Ban a peer that sent data which did not verify, and close its connection."""
        self._note_liar(peer)
        peer.close(error)

    def _note_liar(self, peer: Peer) -> None:
        """Ban the address of a peer that we dialled; count any other liar at its host.

        The port of a peer that dialled us is a claim, perhaps that of its neighbour.
        """
        if peer.is_banned:
            return
        peer.is_banned = True
        if peer.dialled is not None:
            self._dialler.ban(peer.dialled)
        host, is_dialled = peer.connection.address.host, peer.dialled is not None
        self._dialler.bans.note_liar(host, self._loop.time(), dialled=is_dialled)

    def is_banned(self, peer: Peer) -> bool:
        """Return True if we dialled a peer at the address of a liar."""
        address, bans = peer.dialled, self._dialler.bans
        return address is not None and bans.is_banned(address, self._loop.time())

    def may_try(self, peer: Peer) -> bool:
        """Return True if chunks and pages may be requested from one more peer.

        Of two connections with one node, one is used: a source that seems to be two
        does not choose which chunks it sends. The other one is used if nothing comes
        from the first, which may be with another node that has copied the node id, or
        to do without a relay.
        """
        now = self._loop.time()
        for other in self:
            is_same = other.node_id == peer.node_id and other.is_used
            is_worse = other.is_relayed and not peer.is_relayed
            if is_same and not (other is peer or is_worse or self._is_silent(other)):
                if other.verified or now - other.used_at < SILENT_TIME:
                    return False
        host, is_dialled = peer.connection.address.host, peer.dialled is not None
        return self._dialler.bans.may_try(host, now, dialled=is_dialled)

    def neighbours_of_liar(self, liar: Peer) -> list[Peer]:
        """Return the peers at a liar's host from which nothing is requested now.

        Those are none until its host is distrusted, and then those that have sent no
        right chunk.
        """
        host, now = liar.connection.address.host, self._loop.time()
        bans = self._dialler.bans
        return [
            peer
            for peer in self
            if host_key(peer.connection.address.host) == host_key(host)
            and not peer.verified
            and bans.is_distrusted(host, now, dialled=peer.dialled is not None)
        ]

    def watch_silence(self, peer: Peer) -> None:
        """Drop a stalled peer if it stays silent for `STALL_LIMIT`."""
        self._loop.call_later(STALL_LIMIT, self._drop_if_silent, peer)

    def _drop_if_silent(self, peer: Peer) -> None:
        connection = peer.connection
        if not connection.is_closing:
            if self._loop.time() - connection.last_heard >= STALL_LIMIT:
                peer.close(PeerTimeoutError(f"{peer.address} stopped answering"))

    # Addresses that peers name.

    def meet(self, peer: Peer, meeting: Meeting) -> None:
        """Dial another peer on the internet, which dials us, as `peer` has arranged."""
        source = peer.connection.address.host
        connected = {each.address for each in self}
        for port in meeting.ports:
            address = named_address(meeting.host, port, source)
            if address is not None and address not in connected:
                if scope_of(address.host) is Scope.GLOBAL:
                    self._dialler.meet(address, SWARM, meeting.wait / 1000)

    def add_addresses(
        self, peer: Peer, addresses: Iterable[tuple[str, int]], wait: float
    ) -> None:
        """Dial, in `wait` seconds, the addresses from a peer that are believable."""
        # What a relayed peer could have met is not known.
        host = "" if peer.is_relayed else peer.connection.address.host
        for each in addresses:
            address = named_address(*each, host)
            if address is not None:
                self._dialler.add(address, SWARM, wait)


def _owner_of(peer: Peer) -> Owner:
    return host_key(peer.connection.address.host), peer.node_id
