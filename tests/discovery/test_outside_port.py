"""The number by which this node is announced on the internet."""

import pytest

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.discovery.combined import Networks

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
