"""The asyncio edge of LAN discovery: sockets, clock and waiting iterators.

`LanDiscovery` owns one endpoint for each IPv4 address, one task that asks again
and looks for new interfaces, and an inbox for each join. It decides nothing: what
a packet means and when to ask is in `state`. The network's failures end up in
`LanDiscovery.problem`, never in an iterator.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Self, cast

from shoal.core.names.address import Address
from shoal.discovery.base import TOPIC_SIZE
from shoal.discovery.lan.packets import encode_question
from shoal.discovery.lan.sockets import GROUP, MDNS_PORT, PORTS, open_socket
from shoal.discovery.lan.state import LanState, TopicJoin
from shoal.errors import ProtocolError
from shoal.net.interfaces import Interface, list_interfaces

__all__ = ["LanDiscovery"]

MAX_INTERFACES = 64  # IPv4 addresses; a host of containers may have any number
MAX_WAITING = 256  # addresses of one join that nobody has fetched yet
SCAN_EVERY = 5.0  # seconds between looks for new interfaces, as Node has it

_INSTEAD = "A peer can still be named with --peer HOST:PORT."

_Inbox = asyncio.Queue[Address | None]  # None ends the iterator


class LanDiscovery:
    """Find peers on the LAN and be found by them, as dns-discovery 6 does.

    Its sockets open with the first join and close with `aclose`.
    """

    name = "lan"

    def __init__(self, *, interfaces: Sequence[str] = ()) -> None:
        self.problem: str | None = None
        """One sentence on what does not work and what still does, for the user."""
        self._allowed = tuple(interfaces)
        self._state = LanState(secret=os.urandom(32), rng=random.Random())
        self._inboxes: dict[TopicJoin, _Inbox] = {}
        self._endpoints: dict[Interface, _Endpoint] = {}
        self._opening = asyncio.Lock()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def reach(self) -> str:
        """Name the interfaces that are listened on."""
        names = ", ".join(sorted({each.name for each in self._endpoints}))
        return f"the LAN ({names or 'no interface'})"

    async def join(
        self, topic: bytes, port: int | None
    ) -> AsyncGenerator[Address, None]:
        """Yield addresses of the topic's peers until closed.

        With a `port` this node is announced from the first `anext` on. Raises
        `UsageError` there when an interface that the user named does not exist.
        """
        if len(topic) != TOPIC_SIZE:
            raise ValueError(f"a topic has {TOPIC_SIZE} bytes, not {len(topic)}")
        await self._open()
        if self._is_closed:
            return
        inbox = _Inbox(MAX_WAITING)
        join = self._state.join(topic, port, time.monotonic())
        self._inboxes[join] = inbox
        try:
            self._woken.set()  # its first question is due
            while (address := await inbox.get()) is not None:
                yield address
        finally:
            self._state.leave(join)
            del self._inboxes[join]

    async def aclose(self) -> None:
        """Close every socket and end all iterators; idempotent."""
        self._is_closed = True
        for inbox in self._inboxes.values():
            if inbox.full():
                inbox.get_nowait()
            inbox.put_nowait(None)
        endpoints = list(self._endpoints.values())
        self._endpoints.clear()
        for endpoint in endpoints:
            endpoint.close()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()
        for endpoint in endpoints:
            await endpoint.closed.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # Interfaces come and go

    async def _open(self) -> None:
        """Open the sockets and start the task, the first time only."""
        async with self._opening:
            if self._task is None and not self._is_closed:
                await self._update(_look(self._allowed))
                if not self._is_closed:  # while the sockets were opened
                    self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Ask when it is time, and look for new interfaces; runs until cancelled."""
        next_scan = time.monotonic() + SCAN_EVERY
        while True:
            wake_at = min(next_scan, self._state.next_timeout() or next_scan)
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wake_at - time.monotonic()):
                    await self._woken.wait()
            if time.monotonic() >= next_scan:
                next_scan = time.monotonic() + SCAN_EVERY
                await self._update(
                    each
                    for each in _look()
                    if not self._allowed
                    or each.name in self._allowed
                    or each.address in self._allowed
                )
            self._ask_when_due()

    async def _update(self, found: Iterable[Interface]) -> None:
        """Open endpoints for new interfaces, close those of interfaces now gone.

        An endpoint that is new, or could not send, asks for everything at once.
        """
        interfaces = list(dict.fromkeys(found))[:MAX_INTERFACES]
        for gone in self._endpoints.keys() - interfaces:
            self._endpoints.pop(gone).close()
        failed = [each for each in self._endpoints.values() if each.error is not None]
        refused: OSError | None = None
        for interface in interfaces:
            if interface not in self._endpoints:
                try:
                    endpoint = await _open_endpoint(interface, self._handle_packet)
                except OSError as error:
                    refused = error
                    continue
                if self._is_closed:
                    endpoint.close()
                    return
                self._endpoints[interface] = endpoint
                failed.append(endpoint)
        self._ask(self._state.topics, failed)
        self._note_problem(refused)

    def _note_problem(self, refused: OSError | None) -> None:
        endpoints = self._endpoints.values()
        errors = [each.error for each in endpoints if each.error is not None]
        if not endpoints and refused is None:
            self.problem = (
                "LAN discovery does not work: no network interface with an IPv4 "
                f"address is up here. {_INSTEAD}"
            )
        elif len(errors) == len(endpoints):
            reason = errors[0] if errors else refused
            assert reason is not None
            self.problem = (
                "LAN discovery does not work: multicast is refused here "
                f"({reason.strerror or reason}). {_INSTEAD}"
            )
        elif all(each.port != MDNS_PORT for each in endpoints):
            self.problem = (
                "Another program keeps UDP port 5353 to itself, so a peer on the LAN "
                f"may take up to a minute to find this machine. {_INSTEAD}"
            )
        else:
            self.problem = None

    # Packets

    def _ask_when_due(self) -> None:
        topics = self._state.next_questions(time.monotonic())
        if topics and self._endpoints:
            self._ask(topics, self._endpoints.values())
            self._note_problem(None)

    def _ask(self, topics: Iterable[bytes], endpoints: Iterable["_Endpoint"]) -> None:
        """Ask for topics, and tell that we announce those that we do.

        Node's peers learn that from our answer to our own question, which multicast
        brings back; where 5353 is another's, the question does not come back.
        """
        for topic in topics:
            question = encode_question(topic)
            for endpoint in endpoints:
                answer = self._state.answer_to(topic, endpoint.interface.address)
                for port in PORTS:
                    endpoint.send(question, port)
                    if answer is not None:
                        endpoint.send(answer, port)

    def _handle_packet(
        self, endpoint: "_Endpoint", data: bytes, sender: Address
    ) -> None:
        if not sender.port or not endpoint.interface.is_on_subnet(sender.host):
            return
        try:
            reaction = self._state.on_packet(data, sender, time.monotonic())
        except ProtocolError:
            return  # anyone on the LAN can send anything; nobody is to blame
        for answer in reaction.answers:
            endpoint.send(answer, sender.port)
        for join, address in reaction.heard:
            # What overflows is heard again; whoever fills an inbox gains nothing.
            with contextlib.suppress(asyncio.QueueFull):
                self._inboxes[join].put_nowait(address)


class _Endpoint(asyncio.DatagramProtocol):
    """Carry packets through one interface's socket."""

    def __init__(
        self,
        interface: Interface,
        port: int,
        on_packet: Callable[["_Endpoint", bytes, Address], None],
    ) -> None:
        self.interface = interface
        self.port = port
        self.error: OSError | None = None  # of the last sending
        self.closed = asyncio.Event()
        self._on_packet = on_packet
        self._transport: asyncio.DatagramTransport | None = None

    def send(self, data: bytes, port: int) -> None:
        """Multicast a packet to a port of the group; failure shows in `error`."""
        assert self._transport is not None
        self.error = None
        self._transport.sendto(data, (GROUP, port))

    def close(self) -> None:
        """Stop hearing; `closed` is set when the socket is gone."""
        assert self._transport is not None
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by asyncio)."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Pass a packet on (called by asyncio)."""
        self._on_packet(self, data, Address(addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """Remember why sending failed (called by asyncio, from within `sendto`)."""
        self.error = exc if isinstance(exc, OSError) else OSError(str(exc))

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the socket is gone (called by asyncio)."""
        self.closed.set()


def _look(allowed: Sequence[str] = ()) -> list[Interface]:
    try:
        return list_interfaces(allowed)
    except OSError:
        return []  # as good as none; `problem` says so and the next look comes


async def _open_endpoint(
    interface: Interface, on_packet: Callable[[_Endpoint, bytes, Address], None]
) -> _Endpoint:
    sock, port = open_socket(interface.address)
    _, endpoint = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Endpoint(interface, port, on_packet), sock=sock
    )
    return endpoint
