"""Names of bootstrap nodes are resolved off the loop, cached, and never block exit."""

import asyncio
import socket
import threading

import pytest

from shoal.core.names.address import Address
from shoal.discovery.dht.bootstrap import Bootstrap
from shoal.discovery.dht.client import DhtDiscovery
from tests.discovery.dht.nodes import UdpNode, wait_for_problem

NAME = "node.invalid"


class FakeResolver:
    """Know one name, and record every query."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = list(hosts)
        self.queried: list[str] = []

    def __call__(self, host: str, family: socket.AddressFamily) -> list[str]:
        self.queried.append(host)
        if host != NAME or not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        is_ipv6 = family == socket.AF_INET6
        return [each for each in self.hosts if (":" in each) == is_ipv6]


async def test_dotted_addresses_and_localhost_are_not_resolved() -> None:
    resolver = FakeResolver()
    nodes = [Address("127.0.0.1", 1), Address("localhost", 2)]
    bootstrap = Bootstrap(nodes, resolver=resolver)
    assert await bootstrap.addresses() == [
        Address("127.0.0.1", 1),
        Address("127.0.0.1", 2),
    ]
    assert resolver.queried == []


async def test_a_name_is_resolved_once_and_yields_at_most_four_addresses() -> None:
    resolver = FakeResolver(*(f"127.0.0.{n}" for n in range(1, 10)))
    bootstrap = Bootstrap([Address(NAME, 7), Address(NAME, 8)], resolver=resolver)
    found = await bootstrap.addresses()
    assert found[:4] == [Address(f"127.0.0.{n}", 7) for n in range(1, 5)]
    assert len(found) == 8
    await bootstrap.addresses()
    assert resolver.queried == [NAME]


async def test_a_name_that_fails_is_reported_and_resolved_again() -> None:
    resolver = FakeResolver()
    nodes = [Address(NAME, 7), Address("127.0.0.1", 8)]
    bootstrap = Bootstrap(nodes, resolver=resolver)
    assert await bootstrap.addresses() == [Address("127.0.0.1", 8)]
    assert list(bootstrap.unresolved) == [NAME]
    resolver.hosts = ["127.0.0.9"]
    assert Address("127.0.0.9", 7) in await bootstrap.addresses()
    assert list(bootstrap.unresolved) == []


async def test_a_client_restricted_to_loopback_resolves_nothing() -> None:
    resolver = FakeResolver("127.0.0.1")
    async with UdpNode() as node:
        discovery = DhtDiscovery(
            [Address(NAME, 6881), node.address], bind="127.0.0.1", resolver=resolver
        )
        async with discovery:
            task = asyncio.ensure_future(anext(discovery.join(bytes(20), None)))
            await node.wait_until(lambda: bool(node.senders_of(b"get_peers")))
            task.cancel()
            await asyncio.wait([task])
    assert resolver.queried == []


async def test_a_name_without_addresses_is_a_problem() -> None:
    resolver = FakeResolver()
    async with DhtDiscovery([Address(NAME, 6881)], resolver=resolver) as discovery:
        task = asyncio.ensure_future(anext(discovery.join(bytes(20), None)))
        assert f"no address for {NAME}" in await wait_for_problem(discovery)
        task.cancel()
        await asyncio.wait([task])


def test_a_resolver_that_never_answers_does_not_delay_exit() -> None:
    is_called = threading.Event()
    never = threading.Event()

    def resolver(host: str, family: socket.AddressFamily) -> list[str]:
        is_called.set()
        never.wait(30)
        return []

    async def main() -> None:
        async with DhtDiscovery([Address(NAME, 6881)], resolver=resolver) as discovery:
            task = asyncio.ensure_future(anext(discovery.join(bytes(20), None)))
            async with asyncio.timeout(10):
                await asyncio.to_thread(is_called.wait, 5)
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())
    (resolving,) = [each for each in threading.enumerate() if NAME in each.name]
    assert resolving.daemon, "the interpreter waits for it at exit"
    never.set()
    resolving.join()


@pytest.mark.parametrize("name", ["a..b", "x" * 70])
async def test_a_name_that_cannot_be_encoded_is_unresolved(name: str) -> None:
    # The codec refuses these before any query leaves the machine.
    bootstrap = Bootstrap([Address(name, 1)])
    assert await bootstrap.addresses() == []
    assert bootstrap.unresolved == (name,)
