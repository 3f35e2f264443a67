"""Ports are mapped if the settings allow, and told by the number that counts."""

import asyncio

import pytest

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.report.status import PortMapping
from shoal.discovery.combined import MAP_DELAY, Networks
from shoal.mapping import mapper
from shoal.net.gateway import Gateway
from tests.helpers.virtual_time import virtual_time

PORT = 4001


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list of the searches for a router; there is none."""
    calls: list[object] = []

    def find(allowed: object, *, is_ipv6: bool) -> Gateway | None:
        calls.append(allowed)
        return None

    monkeypatch.setattr(mapper, "find_gateway", find)
    return calls


@pytest.mark.parametrize(
    ("settings", "are_asked"),
    [
        (Settings(), True),
        (Settings(no_lan=True), True),
        (Settings(no_map=True), False),
        (Settings(lan_only=True), False),
    ],
)
@virtual_time
async def test_a_router_is_searched_if_the_settings_allow(
    asked: list[object], settings: Settings, are_asked: bool
) -> None:
    networks = Networks(settings)
    networks.map_port(PORT)
    await asyncio.sleep(MAP_DELAY / 2)
    assert not asked, "a short download needs no router"
    await asyncio.sleep(MAP_DELAY)
    problem = await networks.until_mapped()
    assert (bool(asked), problem is not None) == (are_asked, are_asked)
    await networks.aclose()


@virtual_time
async def test_a_node_that_closes_early_searches_no_router(asked: list[object]) -> None:
    networks = Networks(Settings())
    networks.map_port(PORT)
    await networks.aclose()
    await asyncio.sleep(2 * MAP_DELAY)
    assert not asked


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("8.8.8.8", 5001),
        ("192.168.1.7", PORT),
        ("127.0.0.1", PORT),
        ("2a01::7", PORT),
    ],
)
async def test_only_peers_beyond_the_router_are_told_its_port(
    monkeypatch: pytest.MonkeyPatch, host: str, expected: int
) -> None:
    told: list[PortMapping] = []
    networks = Networks(Settings(), on_mapped=told.append)
    mapping = PortMapping(PORT, Address("8.8.4.4", 5001), "PCP")
    monkeypatch.setattr(Networks, "mappings", (mapping,))
    networks._on_mapping()
    networks._on_mapping()  # it was renewed, and is the same
    assert told == [mapping]
    assert networks.port_for(PORT, host) == expected
    assert networks.port_for(PORT + 1, host) == PORT + 1


@pytest.mark.parametrize(
    ("host", "expected"), [("60.0.0.9", PORT + 7), ("100.64.0.7", PORT)]
)
def test_a_mapping_names_our_port_unless_another_router_follows(
    host: str, expected: int
) -> None:
    networks = Networks(Settings())
    mapping = PortMapping(PORT, Address(host, PORT + 7), "PCP")
    networks._mapped = {(PORT, False): mapping}
    assert networks.outside_port(PORT) == networks.port_for(PORT, "8.8.8.8") == expected
    assert networks.port_for(PORT, "2a00::1") == PORT
