"""LAN discovery over real sockets, confined to `lo`: no packet leaves the machine."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest

from shoal.core.names.address import Address
from shoal.discovery.base import Discovery
from shoal.discovery.lan import LanDiscovery, state
from shoal.discovery.lan.client import MAX_WAITING
from shoal.discovery.lan.packets import MAX_PEERS, SENDER, encode_answer
from shoal.discovery.lan.sockets import GROUP, MDNS_PORT, open_socket
from shoal.errors import UsageError

PATIENCE = 5.0  # seconds; everything here takes milliseconds


@pytest.fixture
def topic() -> bytes:
    return os.urandom(20)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


class Listener:
    """Join in a task of its own, and let a test wait for what is heard."""

    def __init__(
        self, discovery: LanDiscovery, topic: bytes, port: int | None = None
    ) -> None:
        self.heard: set[Address] = set()
        self.has_ended = False
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._listen(discovery, topic, port))

    async def _listen(
        self, discovery: LanDiscovery, topic: bytes, port: int | None
    ) -> None:
        async with aclosing(discovery.join(topic, port)) as addresses:
            async for address in addresses:
                async with self._changed:
                    self.heard.add(address)
                    self._changed.notify_all()
        self.has_ended = True

    async def wait_for(self, *ports: int) -> None:
        """Wait until an address with each of the ports was heard."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(
                lambda: {port for _, port in self.heard} >= set(ports)
            )

    async def wait_end(self) -> None:
        """Wait until the iterator has ended by itself."""
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


async def test_two_of_one_process_find_each_other(
    stack: AsyncExitStack, topic: bytes
) -> None:
    first = await listen(stack, await lan(stack), topic, 4001)
    second = await listen(stack, await lan(stack), topic, 4002)
    await first.wait_for(4002)
    await second.wait_for(4001)
    assert first.heard == {Address("127.0.0.1", 4002)}, "it heard itself"
    assert second.heard == {Address("127.0.0.1", 4001)}, "it heard itself"


async def test_whoever_comes_first_hears_whoever_comes_later_at_once(
    stack: AsyncExitStack, topic: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second question would come long after the test has given up.
    monkeypatch.setattr(state, "ASK_AGAIN", ())
    first, other = await lan(stack), await lan(stack)
    before = os.urandom(20)
    await listen(stack, other, before, 4000)
    await (await listen(stack, first, before)).wait_for(4000)
    waiting = await listen(stack, first, topic)
    await listen(stack, other, topic, 4001)
    await waiting.wait_for(4001)


async def test_it_is_a_discovery_and_says_that_all_is_well(
    stack: AsyncExitStack, topic: bytes
) -> None:
    ours = await lan(stack)
    as_promised: Discovery = ours
    assert as_promised.name == "lan"
    await listen(stack, ours, topic, 4001)
    await (await listen(stack, await lan(stack), topic)).wait_for(4001)
    assert ours.problem is None


async def test_whoever_only_looks_is_not_found(
    stack: AsyncExitStack, topic: bytes
) -> None:
    looker = await listen(stack, await lan(stack), topic)
    other = await listen(stack, await lan(stack), topic, 4001)
    await looker.wait_for(4001)
    third = await listen(stack, await lan(stack), topic)
    await third.wait_for(4001)
    assert other.heard == set()
    assert third.heard == {Address("127.0.0.1", 4001)}


async def test_several_topics_at_once_are_kept_apart(
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
    assert {port for _, port in first.heard} == {4001}
    assert {port for _, port in second.heard} == {4002}


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
    assert {port for _, port in later.heard} == {4002}


async def test_closing_ends_all_iterators_and_may_be_repeated(
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


async def test_addresses_that_nobody_fetches_do_not_pile_up_or_stop_the_end(
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
            answer = encode_answer(
                topic, b"", [Address(SENDER, port) for port in ports]
            )
            sock.sendto(answer, (GROUP, MDNS_PORT))
    await eager.wait_for(*ports)
    await discovery.aclose()
    left = [address async for address in lazy]
    assert len(left) == MAX_WAITING - 1


async def test_joining_what_was_closed_yields_nothing(topic: bytes) -> None:
    discovery = LanDiscovery(interfaces=("lo",))
    await discovery.aclose()
    assert [address async for address in discovery.join(topic, 1)] == []


async def test_closing_while_the_sockets_open_leaves_nothing_open(topic: bytes) -> None:
    discovery = LanDiscovery(interfaces=("lo",))
    before = len(os.listdir("/proc/self/fd"))
    listener = Listener(discovery, topic, 1)
    await asyncio.sleep(0)  # it has begun, and asyncio needs further rounds
    await discovery.aclose()
    await listener.wait_end()
    await asyncio.sleep(0)  # the round in which asyncio closes a socket
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(asyncio.all_tasks()) == 1


async def test_an_interface_that_does_not_exist_is_the_users_mistake(
    topic: bytes,
) -> None:
    async with LanDiscovery(interfaces=("lo", "nosuch0")) as discovery:
        with pytest.raises(UsageError, match="nosuch0"):
            await anext(discovery.join(topic, None))


def test_a_socket_hears_the_group_only_and_reaches_every_mdns_program() -> None:
    sock, port = open_socket("127.0.0.1")
    other, other_port = open_socket("127.0.0.1")
    with sock, other:
        assert sock.getsockname() == (GROUP, port)
        assert port == other_port, "the port is not shared"
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 255
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 1


def test_a_socket_of_an_address_that_is_not_ours_is_refused_and_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Cannot assign"):
        open_socket("203.0.113.1")
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_topic_of_the_wrong_size_is_refused() -> None:
    async with LanDiscovery(interfaces=("lo",)) as discovery:
        with pytest.raises(ValueError, match="20 bytes"):
            await anext(discovery.join(b"short", None))
