"""Find peers on the LAN: sockets, the clock, and iterators that wait for addresses.

`LanDiscovery` owns one socket per address, one task that repeats queries and looks
for new interfaces, and a queue per join. It decides nothing: `state` does. Failures of
the network show in `LanDiscovery.problem`, never in an iterator.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Self

from shoal.core.names.address import Address
from shoal.discovery.base import TOPIC_SIZE, AddressQueue
from shoal.discovery.lan.packets import encode_query
from shoal.discovery.lan.sockets import (
    MDNS_PORT,
    PORTS,
    group_of,
    lan_interfaces,
    open_sender,
    open_socket,
)
from shoal.discovery.lan.state import LanState, TopicJoin
from shoal.discovery.udp_socket import UdpSocket
from shoal.errors import ProtocolError, option
from shoal.net.interfaces import Interface, list_interfaces

__all__ = ["MAX_WAITING", "LanDiscovery"]

MAX_ADDRESSES = 64  # of this machine; a host of containers may have any number
MAX_WAITING = 256  # addresses of one join that have not been fetched yet
SCAN_EVERY = 5.0  # seconds between scans for new interfaces, as in dns-discovery


class LanDiscovery:
    """Find peers on the LAN and be found by them, as dns-discovery 6 does.

    The sockets open with the first join and close with `aclose`.
    """

    name = "lan"

    def __init__(self, *, interfaces: Sequence[str] = ()) -> None:
        """Use only `interfaces`, names or addresses; empty means all."""
        self.problem: str | None = None
        """A sentence for the user on what fails and what still works."""
        self._allowed = tuple(interfaces)
        self._state = LanState(secret=os.urandom(32), rng=random.Random())
        self._queues: dict[TopicJoin, AddressQueue] = {}
        self._sockets: dict[Interface, _LanSocket] = {}
        self._subnets: list[Interface] = []  # all of this machine
        self._opening = asyncio.Lock()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._next_scan = 0.0

    @property
    def reach(self) -> str:
        """Name the interfaces in use."""
        names = ", ".join(sorted({each.name for each in self._sockets}))
        return f"the LAN ({names or 'no interface'})"

    async def join(
        self,
        topic: bytes,
        port: int | None,
        *,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[Address, None]:
        """Yield addresses of the topic's peers until closed.

        With a `port`, this node is announced from the first `anext` on. That call
        raises `UsageError` if an interface that the user named does not exist.
        """
        if len(topic) != TOPIC_SIZE:
            raise ValueError(f"a topic has {TOPIC_SIZE} bytes, not {len(topic)}")
        await self._open()
        if self._is_closed:
            return
        queue = AddressQueue(MAX_WAITING)
        join = self._state.join(topic, port, time.monotonic())
        self._queues[join] = queue
        try:
            self._woken.set()  # the first query is due
            while (address := await queue.get()) is not None:
                yield address
        finally:
            self._state.leave(join)
            del self._queues[join]

    def refresh(self, hosts: Sequence[str]) -> None:
        """Look for new interfaces now, query every topic and announce it."""
        self._state.query_all(time.monotonic())
        self._next_scan = 0.0
        self._woken.set()

    async def aclose(self) -> None:
        """Close every socket and end all iterators; idempotent."""
        self._is_closed = True
        for queue in self._queues.values():
            queue.close()
        sockets = list(self._sockets.values())
        self._sockets.clear()
        for each in sockets:
            each.close()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()
        for each in sockets:
            await each.until_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # Interfaces come and go.

    async def _open(self) -> None:
        """Open the sockets and start the task on the first call."""
        async with self._opening:
            if self._task is None and not self._is_closed:
                await self._update(self._list_interfaces(must_exist=True))
                if not self._is_closed:  # while the sockets were opened
                    self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Query when due and scan for new interfaces until cancelled."""
        self._next_scan = time.monotonic() + SCAN_EVERY
        while True:
            wake_at = self._state.next_timeout() or self._next_scan
            wake_at = min(self._next_scan, wake_at)
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wake_at - time.monotonic()):
                    await self._woken.wait()
            if time.monotonic() >= self._next_scan:
                self._next_scan = time.monotonic() + SCAN_EVERY
                await self._update(self._list_interfaces(must_exist=False))
            self._query_due_topics()

    def _list_interfaces(self, *, must_exist: bool) -> list[Interface]:
        try:
            found = list_interfaces(self._allowed, must_exist=must_exist)
            self._subnets = list_interfaces() if self._allowed else found
            return lan_interfaces(found)
        except OSError:
            return []  # `problem` reports that there is none, and the next scan comes

    async def _update(self, found: Iterable[Interface]) -> None:
        """Open sockets for new interfaces, close those of interfaces now gone.

        A new socket, or one that could not send, queries every topic at once.
        """
        interfaces = list(dict.fromkeys(found))[:MAX_ADDRESSES]
        for gone in self._sockets.keys() - interfaces:
            self._sockets.pop(gone).close()
        silent = [each for each in self._sockets.values() if each.send_error]
        refused: OSError | None = None
        for interface in interfaces:
            if interface not in self._sockets:
                try:
                    opened = await _open_socket(interface, self._on_packet)
                except OSError as error:
                    refused = error
                    continue
                if self._is_closed:
                    opened.close()
                    return
                self._sockets[interface] = opened
                silent.append(opened)
        self._query(self._state.topics, silent)
        self._note_problem(refused)

    def _note_problem(self, refused: OSError | None) -> None:
        sockets = self._sockets.values()
        errors = [each.send_error for each in sockets if each.send_error]
        if not sockets and refused is None:
            self.problem = (
                "LAN discovery does not work: no interface with an address is in use "
                f"here. {_instead()}"
            )
        elif len(errors) == len(sockets):
            reason = errors[0] if errors else refused
            assert reason is not None
            self.problem = (
                "LAN discovery does not work: multicast is refused here "
                f"({reason.strerror or reason}). {_instead()}"
            )
        elif all(each.port != MDNS_PORT for each in sockets):
            self.problem = (
                "Another program has exclusive use of UDP port 5353, so a peer on the "
                f"LAN may take up to a minute to find this machine. {_instead()}"
            )
        else:
            self.problem = None

    # Packets.

    def _query_due_topics(self) -> None:
        topics = self._state.next_queries(time.monotonic())
        if topics and self._sockets:
            self._query(topics, self._sockets.values())
            self._note_problem(None)

    def _query(self, topics: Iterable[bytes], sockets: Iterable["_LanSocket"]) -> None:
        """Query topics, and announce those of them that we announce.

        Node peers learn of us from our answer to our own query, which multicast
        brings back to us. If another program has exclusive use of 5353, the query
        does not come back, hence the answer here.
        """
        for topic in topics:
            query = encode_query(topic)
            for each in sockets:
                announcement = self._state.response_to(topic, each.interface.address)
                for port in PORTS:
                    each.multicast(query, port)
                    if announcement is not None:
                        each.multicast(announcement, port)

    def _on_packet(self, receiver: "_LanSocket", data: bytes, sender: Address) -> None:
        if not sender.port or not self._is_near(receiver.interface, sender.host):
            return
        try:
            reaction = self._state.on_packet(data, sender, time.monotonic())
        except ProtocolError:
            return  # any program on the LAN can send anything; there is no one to ban
        for response in reaction.responses:
            receiver.multicast(response, sender.port)
        for join, address in reaction.found:
            self._queues[join].put((address,))

    def _is_near(self, interface: Interface, host: str) -> bool:
        """Return True if a sender is on the link of one of our addresses.

        IPv6 has several subnets on one link.
        """
        if not interface.is_ipv6:
            return interface.is_on_subnet(host)
        same = (each for each in self._subnets if each.name == interface.name)
        return any(each.is_on_subnet(host) for each in same)


class _LanSocket(UdpSocket):
    """Send and receive packets through one interface."""

    def __init__(
        self,
        interface: Interface,
        port: int,
        on_packet: Callable[["_LanSocket", bytes, Address], None],
    ) -> None:
        super().__init__(lambda data, sender: on_packet(self, data, sender))
        self.interface = interface
        self.port = port
        self.sender: UdpSocket = self
        """What sends packets: this socket, or another one."""
        self._group = group_of(interface.address, interface.name)

    def multicast(self, data: bytes, port: int) -> None:
        """Send a packet to a port of the group; `send_error` is that of this packet."""
        self.sender.send_error = None
        self.sender.send(data, Address(self._group, port))
        self.send_error = self.sender.send_error

    def close(self) -> None:
        """Send and receive nothing more."""
        super().close()
        if self.sender is not self:
            self.sender.close()

    async def until_closed(self) -> None:
        """Wait until all sockets are closed."""
        await self.closed.wait()
        await self.sender.closed.wait()


async def _open_socket(
    interface: Interface, on_packet: Callable[[_LanSocket, bytes, Address], None]
) -> _LanSocket:
    loop = asyncio.get_running_loop()
    sock, port = open_socket(interface.address, interface.name)
    _, opened = await loop.create_datagram_endpoint(
        lambda: _LanSocket(interface, port, on_packet), sock=sock
    )
    try:
        sending = open_sender(interface.address, interface.name, port)
        if sending is not None:
            _, opened.sender = await loop.create_datagram_endpoint(
                lambda: UdpSocket(lambda data, sender: None), sock=sending
            )
    except BaseException:
        opened.close()
        raise
    return opened


def _instead() -> str:
    return f"A peer can still be named with {option('--peer', 'HOST:PORT')}."
