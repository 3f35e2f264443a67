"""The number by which this node is announced on the internet."""

from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.outside import MIN_NODES
from shoal.discovery.combined import Networks
from shoal.resources import Resources

PORT, OUTSIDE = 4001, 41_000
HERE = Address("8.8.1.1", OUTSIDE)


def test_a_port_that_peers_see_is_announced_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks = Networks(Settings())
    announced: list[int] = []
    monkeypatch.setattr(
        networks,
        "_announce_again",
        lambda hosts: announced.append(networks.outside_port(PORT)),
    )
    networks.on_seen("9.9.1.1", HERE, PORT)
    assert not announced, "one peer could lie"
    networks.on_seen("9.9.2.1", HERE, PORT)
    networks.on_seen("9.9.3.1", HERE, PORT)
    assert announced == [OUTSIDE]


def test_a_peer_on_the_internet_is_told_the_outside_port_and_one_nearby_ours() -> None:
    networks = Networks(Settings())
    for peer in ("9.9.1.1", "9.9.2.1"):
        networks.on_seen(peer, HERE, PORT)
    assert networks.port_for(PORT, "8.8.9.9") == OUTSIDE
    assert networks.port_for(PORT, "192.168.1.7") == PORT


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
