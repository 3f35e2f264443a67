"""The one TCP port of a node that serves all its sealed shares.

`Port` is the listener and owns this process's node id; it also dials with that, so that
a node which dials itself notices.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import WeakSet

from shoal.core.crypto.crossing import DialHandshake
from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import NODE_ID_SIZE, KnockMemory, handshake_start
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.errors import PeerError, PeerTimeoutError, RelayError
from shoal.net.ports import bind_port
from shoal.transport.dial import connect, reaching
from shoal.transport.sealed.bound import connect_from, share_port
from shoal.transport.sealed.knocking import DIAL_TIME, Knocking
from shoal.transport.sealed.listen import SealedListener
from shoal.transport.sealed.proven import Dial, Factory, ProvenPeer
from shoal.transport.sealed.relay import AtRelay, relay_request

if TYPE_CHECKING:
    from shoal.transport.quic.endpoint import SendTo
    from shoal.transport.sealed.by_udp import UdpPeers

__all__ = ["DIAL_TIME", "PUNCH_TIME", "Port", "dial_sealed"]

# Longer than a sharer takes to look for us again ("DHT discovery"). The system sends a
# SYN at once and after 1, 3, 7 and 15 s.
PUNCH_TIME = 16.0  # seconds for a connection to a global address to be made

# As long as Linux lets the answers to a SYN in through a NAT.
ASIDE_TIME = 120.0  # seconds for which a port aside is listened on after a dial from it
MAX_ASIDES = 64  # ports

_Asides: TypeAlias = "dict[int, tuple[list[asyncio.Task[None]], asyncio.TimerHandle]]"
P = TypeVar("P", bound=asyncio.BufferedProtocol)


class Port(SealedListener):
    """Accept and dial holders of our shares."""

    def __init__(
        self, hosts: Sequence[str], port: int, threads: Executor | None = None
    ) -> None:
        """Listen at `port` of all `hosts`; raise as `bind_all` does.

        Large amounts of data are encrypted in `threads`.
        """
        self.node_id = os.urandom(NODE_ID_SIZE)
        """16 random bytes, new in every process."""
        self._asides: _Asides = {}
        self._crossed: WeakSet[Knocking] = WeakSet()  # the handshakes of these go on
        self._udp: UdpPeers | None = None
        super().__init__(self.node_id, hosts=hosts, port=port, threads=threads)

    def dialler(self, keys: Keys) -> Dial:
        """Return a function that connects to other holders of a share."""

        async def dial(address: Address, factory: Factory) -> None:
            by_tcp = dial_sealed(
                address,
                keys,
                self.node_id,
                factory,
                threads=self.threads,
                knocks=self.knocks,
                port=self,
            )
            if self._udp is None or scope_of(address.host) is not Scope.GLOBAL:
                await by_tcp
            else:
                await self._udp.dial(by_tcp, address, keys, factory)

        return dial

    def use_udp(
        self, send: "SendTo", is_changing: Callable[[], bool]
    ) -> Callable[[bytes, int, Address], bool]:
        """Dial and accept by UDP as well, over a socket that `send` sends from.

        Returns what takes its datagrams: bytes, the size of each but the last, and the
        source; it returns False for those of others. `is_changing` returns True if our
        NAT is known to change ports.
        """
        from shoal.transport.sealed.by_udp import UdpPeers

        self._udp = UdpPeers(self, send, is_changing)
        return self._udp.on_datagrams

    async def meet(
        self,
        relay: Address,
        keys: Keys,
        factory: Factory,
        on_met: Callable[[], None],
        name: bytes | None = None,
    ) -> None:
        """Wait at a relay for another holder of a share, and connect with it.

        `on_met` is called once another node is there. Nodes with the same `name` do not
        meet; by default it is the node id. Both have connected to the relay,
        so the handshake is that of a simultaneous open. Raises `RelayError` if the
        relay cannot be reached or refuses, and otherwise as `dial_sealed` does.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[asyncio.BufferedProtocol] = loop.create_future()
        handshake = DialHandshake(handshake_start(keys), self.node_id, self.knocks)
        knocking = Knocking(
            relay,
            handshake,
            lambda proven: factory(proven._replace(is_relayed=True)),
            outcome,
            self.threads,
        )

        def begin(transport: asyncio.Transport) -> None:
            on_met()
            transport.set_protocol(knocking)
            knocking.connection_made(transport)

        waiting = AtRelay(relay_request(keys, name or self.node_id), begin)
        try:
            async with reaching(relay, DIAL_TIME):
                await connect(lambda: waiting, relay)
            await waiting.met
        except PeerError as error:
            raise RelayError(str(error)) from error
        finally:
            if not waiting.met.done() or waiting.met.cancelled():
                waiting.abort()
        with _settling(knocking, outcome):
            async with reaching(relay, DIAL_TIME):
                await outcome

    def on_unopened(self, knocking: Knocking, knock: bytes) -> None:
        """Find out whether a peer that we dial dials us for another of our shares."""
        self._run(self._take_unopened(knocking, knock), None)

    async def _take_unopened(self, knocking: Knocking, knock: bytes) -> None:
        found = await self._recognise(knock)
        if found is None:
            knocking.on_no_share()
            return
        share, opened = found

        def begin(proven: ProvenPeer) -> asyncio.BufferedProtocol:
            self._crossed.discard(knocking)
            return self._pass_to(share, proven)

        # If we are the server now, no dial waits for the end of the handshake.
        self._crossed.add(knocking)
        knocking.cross(opened, begin)

    def listen_aside(self, port: int) -> None:
        """Accept connections at a port aside, too, for `ASIDE_TIME` from now on."""
        tasks, timer = self._asides.pop(port, ([], None))
        if timer is not None:
            timer.cancel()
        elif len(self._asides) == MAX_ASIDES:
            return
        else:
            tasks = self._open_aside(port)
        timer = self._loop.call_later(ASIDE_TIME, self._end_aside, port)
        self._asides[port] = tasks, timer

    def _open_aside(self, port: int) -> "list[asyncio.Task[None]]":
        try:
            sockets = bind_port(list(self._accepting), port)
        except OSError:  # another program has the port
            return []
        return [self._accept(each) for each in sockets.values()]

    def _end_aside(self, port: int) -> None:
        tasks, timer = self._asides.pop(port)
        timer.cancel()
        for task in tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Stop accepting, at the ports aside and by UDP as well; idempotent."""
        for port in list(self._asides):
            self._end_aside(port)
        for knocking in list(self._crossed):
            knocking.abort()
        if self._udp is not None:
            self._udp.close()
        await super().aclose()

    def _accept(self, listening: socket.socket) -> "asyncio.Task[None]":
        share_port(listening)
        return super()._accept(listening)


async def dial_sealed(
    address: Address,
    keys: Keys,
    node_id: bytes,
    factory: Callable[[ProvenPeer], P],
    *,
    threads: Executor | None = None,
    within: float = DIAL_TIME,
    knocks: KnockMemory | None = None,
    port: Port | None = None,
) -> P:
    """Connect to a peer that knows the id; return the protocol that `factory` makes.

    This is the client's side of docs/protocol.md, "Sealed transport", and both sides of
    "Simultaneous open", for which `knocks` are those that this node has received. The
    client sends nothing but the knock until the server has proven that it knows the
    id. `factory` is called then, and may raise `PeerError` to refuse the peer. Large
    amounts of data are encrypted in `threads`. With the `port` of this node, global
    addresses are dialled from there, for `PUNCH_TIME`, and a peer that dials for
    another share of that port at the same time is connected for one of the two.

    Raises `SelfConnectionError` if this node itself answered (forget the address),
    `NotAHolderError` if the peer does not know the id, `ProtocolError` if it does
    not speak the protocol, `PeerTimeoutError` after `within` seconds, and
    `PeerError` if it cannot be reached or hangs up, as a node does that does
    not have the share.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[P] = loop.create_future()
    handshake = DialHandshake(
        handshake_start(keys), node_id, KnockMemory() if knocks is None else knocks
    )
    on_unopened = None if port is None else port.on_unopened
    knocking = Knocking(address, handshake, factory, outcome, threads, on_unopened)
    with _settling(knocking, outcome):
        if port is not None and scope_of(address.host) is Scope.GLOBAL:
            async with reaching(address, PUNCH_TIME):
                sock = await connect_from(port.port, address, keys, port.listen_aside)
                await loop.create_connection(lambda: knocking, sock=sock)
            async with reaching(address, within):
                return await outcome
        async with reaching(address, within):
            await connect(lambda: knocking, address)
            return await outcome


@contextmanager
def _settling(knocking: Knocking, outcome: "asyncio.Future[Any]") -> Iterator[None]:
    """End the handshake if the block ends before its outcome is known."""
    try:
        yield
    except (PeerTimeoutError, asyncio.CancelledError):
        knocking.abort()
        raise
    finally:
        # Marks the outcome as retrieved, so that asyncio does not log its exception.
        if not outcome.cancel() and not outcome.cancelled():
            outcome.exception()
