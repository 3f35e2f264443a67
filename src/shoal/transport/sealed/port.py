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
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from shoal.core.crypto.crossing import DialHandshake
from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import NODE_ID_SIZE, Greeted, KnockMemory, handshake_start
from shoal.core.crypto.noise import Opened
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.errors import PeerError, PeerTimeoutError, RelayError
from shoal.net.ports import bind_port
from shoal.net.socket_names import host_of
from shoal.transport.dial import connect, reaching
from shoal.transport.sealed.bound import connect_from, share_port
from shoal.transport.sealed.listen import SealedListener
from shoal.transport.sealed.noise import NoiseConnection
from shoal.transport.sealed.proven import Dial, Factory, ProvenPeer
from shoal.transport.sealed.relay import AtRelay, relay_request

__all__ = ["DIAL_TIME", "PUNCH_TIME", "Port", "dial_sealed"]

# docs/protocol.md, "Sealed transport", allows 10 s up to the confirmation.
DIAL_TIME = 10.0  # seconds
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
        super().__init__(self.node_id, hosts=hosts, port=port, threads=threads)

    def dialler(self, keys: Keys) -> Dial:
        """Return a function that connects to other holders of a share."""

        async def dial(address: Address, factory: Factory) -> None:
            await dial_sealed(
                address,
                keys,
                self.node_id,
                factory,
                threads=self._threads,
                knocks=self._knocks,
                port=self,
            )

        return dial

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
        handshake = DialHandshake(handshake_start(keys), self.node_id, self._knocks)
        knocking = _Knocking(
            relay,
            handshake,
            lambda proven: factory(proven._replace(is_relayed=True)),
            outcome,
            self._threads,
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

    def on_unopened(self, knocking: "_Knocking", knock: bytes) -> None:
        """Find out whether a peer that we dial dials us for another of our shares."""
        self._run(self._take_unopened(knocking, knock), None)

    async def _take_unopened(self, knocking: "_Knocking", knock: bytes) -> None:
        found = await self._recognise(knock)
        if found is not None:
            share, opened = found
            knocking.cross(opened, partial(self._pass_to, share))

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
        """Stop accepting, at the ports aside as well; idempotent."""
        for port in list(self._asides):
            self._end_aside(port)
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
    knocking = _Knocking(address, handshake, factory, outcome, threads, on_unopened)
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
def _settling(knocking: "_Knocking", outcome: "asyncio.Future[Any]") -> Iterator[None]:
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


class _Knocking(asyncio.BufferedProtocol):
    """Run the handshake, read no byte after it, then hand the connection over."""

    def __init__(
        self,
        address: Address,
        handshake: DialHandshake,
        factory: Callable[[ProvenPeer], P],
        outcome: "asyncio.Future[P]",
        threads: Executor | None,
        on_unopened: "Callable[[_Knocking, bytes], None] | None" = None,
    ) -> None:
        self._address = address
        self._handshake = handshake
        self._factory: Callable[[ProvenPeer], Any] = factory
        self._outcome = outcome
        self._threads = threads
        self._on_unopened = on_unopened
        self._deadline: asyncio.TimerHandle | None = None
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Knock."""
        # uvloop's transport is not a subclass, but has the same methods.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._handshake.knock)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return room for the rest of the handshake and nothing after it."""
        self._buffer = bytearray(self._handshake.awaited)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Go on with the handshake; hand the connection over once it is complete."""
        assert self._transport is not None
        try:
            reply, greeted = self._handshake.receive(bytes(self._buffer[:nbytes]))
            if greeted is not None:
                self._hand_over(self._transport, greeted, reply)
                return
        except PeerError as error:
            self._fail(error)
            return
        self._transport.write(reply)
        knock = self._handshake.unopened
        if knock is not None and self._on_unopened is not None:
            self._on_unopened(self, knock)

    def cross(self, opened: Opened, factory: Factory) -> None:
        """Go on with a peer that has dialled for another share of this node.

        If we are the server now, the connection gets the protocol that the `factory` of
        that share makes, and the dial has failed.
        """
        if self._handshake.unopened is None or self._transport is None:
            return
        try:
            self._transport.write(self._handshake.cross(opened))
        except PeerError as error:
            self._fail(error)
            return
        if not self._handshake.is_client:
            self._factory = lambda peer: factory(peer._replace(is_server=False))
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(DIAL_TIME, self.abort)
            problem = f"{self._address} dialled us at the same time, for another share"
            self._report(PeerError(problem))

    def connection_lost(self, error: Exception | None) -> None:
        """Report that the connection ended before the answer was complete."""
        lost = PeerError(f"{self._address} hung up: it seems not to have this share")
        lost.__cause__ = error
        self._fail(lost)

    def _fail(self, error: PeerError) -> None:
        self.abort()
        self._report(error)

    def _report(self, error: PeerError) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)

    def _hand_over(
        self, transport: asyncio.Transport, greeted: Greeted, confirmation: bytes
    ) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        # No peername if the peer has gone already.
        name = transport.get_extra_info("peername") or ("", 0)
        peer = ProvenPeer(
            Address(host_of(name), name[1]),
            greeted.node_id,
            greeted.version,
            is_server=not self._handshake.is_client,
            is_crossed=self._handshake.has_crossed,
        )
        protocol = self._factory(peer)
        transport.write(confirmation)
        noise = NoiseConnection(greeted.ciphers, lambda: protocol, self._threads)
        transport.set_protocol(noise)
        noise.connection_made(transport)
        if not self._outcome.done():
            self._outcome.set_result(protocol)
