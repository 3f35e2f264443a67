"""The number by which this node is announced on the internet."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.outside import MIN_NODES
from shoal.discovery.combined import PORT_CHANGES, PORT_PERIOD, Networks
from shoal.resources import Resources
from tests.helpers.virtual_time import virtual_time

PORT, OUTSIDE = 4001, 41_000
HERE = Address("8.8.1.1", OUTSIDE)


def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[Networks, list[int]]:
    """Return networks, and the ports that they announce from now on."""
    networks = Networks(Settings())
    announced: list[int] = []
    monkeypatch.setattr(
        networks,
        "_announce_again",
        lambda hosts: announced.append(networks.outside_port(PORT)),
    )
    return networks, announced


async def test_a_port_that_peers_see_is_announced_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks, announced = watched(monkeypatch)
    networks.on_seen("9.9.1.1", HERE, PORT)
    assert not announced, "one peer could lie"
    networks.on_seen("9.9.2.1", HERE, PORT)
    networks.on_seen("9.9.3.1", HERE, PORT)
    assert announced == [OUTSIDE]


@virtual_time
async def test_peers_that_tell_other_ports_over_and_over_cause_few_announcements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each would have every share looked up and announced in the DHT."""
    networks, announced = watched(monkeypatch)
    networks.on_seen("9.9.1.1", HERE, PORT)
    for number in range(1000):
        told = HERE if number % 2 else Address(HERE.host, 7)
        networks.on_seen("9.9.2.1", told, PORT)
        await asyncio.sleep(0.1)
    assert len(announced) == PORT_CHANGES + 1
    await asyncio.sleep(PORT_PERIOD)
    assert announced[-1] == OUTSIDE, "that is the port now"
    await networks.aclose()


async def test_a_peer_on_the_internet_is_told_the_outside_port_a_near_one_ours() -> (
    None
):
    networks = Networks(Settings())
    for peer in ("9.9.1.1", "9.9.2.1"):
        networks.on_seen(peer, HERE, PORT)
    assert networks.port_for(PORT, "8.8.9.9") == OUTSIDE
    assert networks.port_for(PORT, "192.168.1.7") == PORT


def on_nodes(networks: Networks, udp: int) -> None:
    """Have nodes of the DHT report a port of our UDP socket."""
    for number in range(MIN_NODES):
        networks._on_node(f"9.{number}.1.1", Address(HERE.host, udp), PORT)


async def test_behind_a_nat_that_changes_ports_the_udp_port_is_announced_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks = Networks(Settings())
    networks.share_udp(PORT, lambda data, segment, source: False)
    announced: list[int] = []
    monkeypatch.setattr(
        networks,
        "_announce_again",
        lambda hosts: announced.append(networks.outside_port(PORT)),
    )
    for peer in ("9.9.1.1", "9.9.2.1"):
        networks.on_seen(peer, HERE, PORT)
    on_nodes(networks, OUTSIDE + 1)
    assert announced == [OUTSIDE, OUTSIDE + 1]
    assert networks.is_changing()
    assert networks.outside_port(PORT + 1) == PORT + 1, "a port of an open channel"


async def test_a_udp_port_that_no_peer_can_use_is_not_announced() -> None:
    networks = Networks(Settings())
    on_nodes(networks, OUTSIDE + 1)
    assert networks.outside_port(PORT) == PORT


def test_with_lan_only_no_peer_is_dialled_by_udp() -> None:
    assert Networks(Settings()).can_use_udp
    assert not Networks(Settings(lan_only=True)).can_use_udp


@pytest.mark.parametrize("is_elsewhere", [False, True])
async def test_the_address_of_this_node_is_no_peer(is_elsewhere: bool) -> None:
    """The DHT returns what was announced, by the address on the internet."""
    own, other = Address("8.8.1.1", 4001), Address("8.8.1.1", 4002)

    class Dht:
        name = "dht"

        async def join(self, *_: object, **__: object) -> AsyncGenerator[Address, None]:
            yield own
            yield other

    resources = Resources(Settings())
    for number in range(MIN_NODES):
        seen = Address("8.8.1.2", 1) if is_elsewhere else own
        resources.networks.outside.on_node(f"9.{number}.1.1", seen, 4001)
    joined = resources.join(cast(Any, Dht()), bytes(20), own.port, lambda: True)
    found = [address async for address, _ in joined]
    await resources.aclose()
    assert found == ([own, other] if is_elsewhere else [other])
