"""LAN discovery over real sockets, restricted to `lo`: no packet leaves the machine."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest

from shoal.core.names.address import Address
from shoal.discovery.base import Discovery
from shoal.discovery.lan import state
from shoal.discovery.lan.client import MAX_WAITING, LanDiscovery
from shoal.discovery.lan.packets import MAX_PEERS, SENDER, encode_query, encode_response
from shoal.discovery.lan.sockets import GROUP, MDNS_PORT, lan_interfaces, open_socket
from shoal.errors import UsageError
from shoal.net.interfaces import Interface

PATIENCE = 20.0  # seconds; everything here takes milliseconds


@pytest.fixture
def topic() -> bytes:
    return os.urandom(20)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


class Listener:
    """Join a topic in a task, and let a test wait for addresses."""

    def __init__(
        self, discovery: LanDiscovery, topic: bytes, port: int | None = None
    ) -> None:
        self.found: set[Address] = set()
        self.has_ended = False
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._listen(discovery, topic, port))

    async def _listen(
        self, discovery: LanDiscovery, topic: bytes, port: int | None
    ) -> None:
        async with aclosing(discovery.join(topic, port)) as addresses:
            async for address in addresses:
                async with self._changed:
                    self.found.add(address)
                    self._changed.notify_all()
        self.has_ended = True

    async def wait_for(self, *ports: int) -> None:
        """Wait until an address with each of the ports was found."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(
                lambda: {port for _, port in self.found} >= set(ports)
            )

    async def wait_end(self) -> None:
        """Wait until the iterator has ended."""
        async with asyncio.timeout(PATIENCE):
            await self._task

    async def aclose(self) -> None:
        """Leave the topic."""
        self._task.cancel()
        await asyncio.wait((self._task,))


async def lan(stack: AsyncExitStack) -> LanDiscovery:
    return await stack.enter_async_context(LanDiscovery(interfaces=("lo",)))


async def listen(
    stack: AsyncExitStack,
    discovery: LanDiscovery,
    topic: bytes,
    port: int | None = None,
) -> Listener:
    listener = Listener(discovery, topic, port)
    stack.push_async_callback(listener.aclose)
    return listener


async def test_two_nodes_of_one_process_find_each_other(
    stack: AsyncExitStack, topic: bytes
) -> None:
    first = await listen(stack, await lan(stack), topic, 4001)
    second = await listen(stack, await lan(stack), topic, 4002)
    await first.wait_for(4002)
    await second.wait_for(4001)
    assert first.found == {Address("127.0.0.1", 4002)}, "it found itself"
    assert second.found == {Address("127.0.0.1", 4001)}, "it found itself"


async def test_a_waiting_node_finds_a_later_one_by_its_announcement(
    stack: AsyncExitStack, topic: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "QUERY_WAITS", (3600.0,))  # there is no second query
    first, other = await lan(stack), await lan(stack)
    before = os.urandom(20)
    await listen(stack, other, before, 4000)
    await (await listen(stack, first, before)).wait_for(4000)
    waiting = await listen(stack, first, topic)
    await listen(stack, other, topic, 4001)
    await waiting.wait_for(4001)


async def test_the_client_implements_discovery_and_reports_no_problem(
    stack: AsyncExitStack, topic: bytes
) -> None:
    ours = await lan(stack)
    as_promised: Discovery = ours
    assert as_promised.name == "lan"
    await listen(stack, ours, topic, 4001)
    await (await listen(stack, await lan(stack), topic)).wait_for(4001)
    assert ours.problem is None


async def test_a_node_that_announces_nothing_is_not_found(
    stack: AsyncExitStack, topic: bytes
) -> None:
    looker = await listen(stack, await lan(stack), topic)
    other = await listen(stack, await lan(stack), topic, 4001)
    await looker.wait_for(4001)
    third = await listen(stack, await lan(stack), topic)
    await third.wait_for(4001)
    assert other.found == set()
    assert third.found == {Address("127.0.0.1", 4001)}


async def test_several_topics_are_kept_apart(
    stack: AsyncExitStack, topic: bytes
) -> None:
    announcer, looker = await lan(stack), await lan(stack)
    other = bytes(reversed(topic))
    await listen(stack, announcer, topic, 4001)
    await listen(stack, announcer, other, 4002)
    first = await listen(stack, looker, topic)
    second = await listen(stack, looker, other)
    await first.wait_for(4001)
    await second.wait_for(4002)
    assert {port for _, port in first.found} == {4001}
    assert {port for _, port in second.found} == {4002}


async def test_one_topic_at_two_ports_is_found_at_both(
    stack: AsyncExitStack, topic: bytes
) -> None:
    announcer = await lan(stack)
    await listen(stack, announcer, topic, 4001)
    await listen(stack, announcer, topic, 4002)
    looker = await listen(stack, await lan(stack), topic)
    await looker.wait_for(4001, 4002)


async def test_closing_an_iterator_ends_its_announcement(
    stack: AsyncExitStack, topic: bytes
) -> None:
    announcer = await lan(stack)
    left = await listen(stack, announcer, topic, 4001)
    await listen(stack, announcer, topic, 4002)
    await (await listen(stack, await lan(stack), topic)).wait_for(4001, 4002)
    await left.aclose()
    later = await listen(stack, await lan(stack), topic)
    await later.wait_for(4002)
    assert {port for _, port in later.found} == {4002}


async def test_closing_ends_all_iterators_and_is_idempotent(
    stack: AsyncExitStack, topic: bytes
) -> None:
    discovery = await lan(stack)
    listeners = [await listen(stack, discovery, topic, port) for port in (1, None)]
    await (await listen(stack, await lan(stack), topic)).wait_for(1)
    await discovery.aclose()
    await discovery.aclose()
    for listener in listeners:
        await listener.wait_end()
        assert listener.has_ended


async def test_addresses_that_are_not_fetched_are_limited_and_do_not_delay_closing(
    stack: AsyncExitStack, topic: bytes
) -> None:
    discovery = await lan(stack)
    await listen(stack, await lan(stack), topic, 9999)
    lazy = discovery.join(topic, None)
    await anext(lazy)
    eager = await listen(stack, discovery, topic)
    await eager.wait_for(9999)
    sock, _ = open_socket("127.0.0.1")
    with sock:
        for first in range(1, MAX_WAITING + MAX_PEERS, MAX_PEERS):
            ports = range(first, first + MAX_PEERS)
            response = encode_response(
                topic, b"", [Address(SENDER, port) for port in ports]
            )
            sock.sendto(response, (GROUP, MDNS_PORT))
    await eager.wait_for(*ports)
    async with asyncio.timeout(PATIENCE):
        for _ in range(MAX_WAITING):
            await anext(lazy)
    rest = asyncio.ensure_future(anext(lazy, None))
    await asyncio.sleep(0)
    assert not rest.done()
    await discovery.aclose()
    assert await rest is None


async def test_joining_a_closed_discovery_yields_nothing(topic: bytes) -> None:
    discovery = LanDiscovery(interfaces=("lo",))
    await discovery.aclose()
    assert [address async for address in discovery.join(topic, 1)] == []


async def test_closing_while_the_sockets_open_leaves_nothing_open(topic: bytes) -> None:
    discovery = LanDiscovery(interfaces=("lo",))
    before = len(os.listdir("/proc/self/fd"))
    listener = Listener(discovery, topic, 1)
    await asyncio.sleep(
        0
    )  # it has started, and opening takes further rounds of the loop
    await discovery.aclose()
    await listener.wait_end()
    await asyncio.sleep(0)  # the round in which asyncio closes a socket
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(asyncio.all_tasks()) == 1


async def test_an_interface_that_does_not_exist_is_a_usage_error(
    topic: bytes,
) -> None:
    async with LanDiscovery(interfaces=("lo", "nosuch0")) as discovery:
        with pytest.raises(UsageError, match="nosuch0"):
            await anext(discovery.join(topic, None))


def test_a_socket_is_bound_to_the_group_and_shares_its_port() -> None:
    sock, port = open_socket("127.0.0.1")
    other, other_port = open_socket("127.0.0.1")
    with sock, other:
        assert sock.getsockname() == (GROUP, port)
        assert port == other_port, "the port is not shared"
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 255
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 1


def test_a_foreign_address_is_refused_and_leaves_no_socket_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Cannot assign"):
        open_socket("203.0.113.1")
    assert len(os.listdir("/proc/self/fd")) == before


FE80, ULA = Interface("v0", "fe80::1%v0", 64), Interface("v0", "fd00::1", 64)
IPV4, OTHER = Interface("v0", "10.0.0.1", 24), Interface("v1", "fd01::1", 64)
LO4, LO6 = Interface("lo", "127.0.0.1", 8), Interface("lo", "::1", 128)


@pytest.mark.parametrize(
    ("found", "used"),
    [
        ([LO4, LO6, IPV4, ULA, FE80], [FE80, LO4, IPV4]),
        ([FE80, ULA], [FE80]),
        ([ULA, OTHER], [ULA, OTHER]),
        ([LO6], []),
    ],
)
def test_ipv6_is_used_once_on_each_interface(
    found: list[Interface], used: list[Interface]
) -> None:
    assert lan_interfaces(found) == used


@pytest.mark.parametrize(
    ("sender", "is_near"),
    [
        ("fe80::2%v0", True),
        ("fd00::2", True),
        ("fe80::2%v1", False),
        ("fd01::2", False),
        ("2a00::1", False),
        ("10.0.0.2", True),
    ],
)
@pytest.mark.parametrize("receiver", [FE80, ULA])
def test_a_sender_by_ipv6_is_on_a_subnet_of_the_interface(
    receiver: Interface, sender: str, *, is_near: bool
) -> None:
    discovery = LanDiscovery()
    discovery._subnets = [FE80, ULA, IPV4, OTHER]
    assert discovery._is_near(receiver, sender) is is_near


async def test_a_topic_of_the_wrong_size_is_refused() -> None:
    async with LanDiscovery(interfaces=("lo",)) as discovery:
        with pytest.raises(ValueError, match="20 bytes"):
            await anext(discovery.join(b"short", None))


async def test_a_refreshed_client_queries_at_once(
    stack: AsyncExitStack, topic: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "QUERY_WAITS", (3600.0,))  # there is no second query
    ours = await lan(stack)
    waiting = await listen(stack, ours, topic)
    with open_socket("127.0.0.1")[0] as sock:
        loop, query = asyncio.get_running_loop(), encode_query(topic)
        async with asyncio.timeout(PATIENCE):
            for _ in range(2):  # the query of the join, then that of the refresh
                while await loop.sock_recv(sock, 2048) != query:
                    pass
                ours.refresh([])
    assert waiting.found == set()
