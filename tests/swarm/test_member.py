"""What hints may make us dial is little; connections of lost addresses are dead."""

from pathlib import Path

import pytest

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.node.node import Node
from shoal.swarm.member import is_usable, usable_hints, usable_relays
from shoal.transport.connection import Connection
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, make_holding

ANYWHERE = Settings()
ON_LOOPBACK = Settings(interfaces=("127.0.0.1",))


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255"],
)
def test_what_is_no_ordinary_address_is_not_dialled(host: str) -> None:
    assert not is_usable(host, ANYWHERE)


@pytest.mark.parametrize("host", ["8.8.8.8", "192.168.1.7", "10.0.0.3"])
def test_ordinary_addresses_are_dialled(host: str) -> None:
    assert is_usable(host, ANYWHERE)


def test_loopback_is_dialled_where_the_user_named_it() -> None:
    assert is_usable("127.0.0.1", ON_LOOPBACK)


def test_who_keeps_to_an_interface_dials_nothing_beyond_it() -> None:
    assert not is_usable("8.8.8.8", ON_LOOPBACK)
    assert not is_usable("8.8.8.8", Settings(lan_only=True))


async def test_no_name_is_looked_up_where_the_user_keeps_to_some_networks() -> None:
    hints = [Address("localhost", 4001), Address("127.0.0.1", 4002)]
    found = [each async for each in usable_hints(hints, ON_LOOPBACK)]
    assert found == [(Address("127.0.0.1", 4002), "hint")]


async def test_relays_of_the_user_are_used_and_those_of_a_link_like_its_peers() -> None:
    named, other = Address("8.8.8.8", 4100), Address("8.8.4.4", 4100)
    hints = [named, other, Address("127.0.0.1", 4100), Address("8.8.4.4", 22)]

    async def relays(settings: Settings) -> list[Address]:
        return [relay async for relay, _ in usable_relays(hints, settings)]

    assert await relays(Settings(relays=(named,))) == [named, other]
    assert await relays(Settings(relays=(named,), lan_only=True)) == [named]
    assert await relays(Settings(lan_only=True)) == []


async def test_a_name_that_leads_to_loopback_is_not_dialled() -> None:
    hints = [Address("localhost", 4001)]
    assert [each async for each in usable_hints(hints, ANYWHERE)] == []


@pytest.mark.parametrize(
    ("used", "is_lost"),
    [
        ("10.0.0.3", False),
        ("10.0.0.4", True),
        ("fd00::3", False),
        ("fd00::4", True),
        ("fe80::3%eth0", False),
        ("fe80::3%eth1", True),
        ("", False),
    ],
)
async def test_the_connections_of_a_lost_address_are_hung_up(
    used: str, is_lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = make_holding(100)
    async with Holder(holding) as holder, Node(here([holder.address])) as node:
        await node.fetch(holding.link, tmp_path / "out", seed=True)
        ((_, swarm),) = node._registry.swarms
        (peer,) = swarm.peers
        monkeypatch.setattr(Connection, "local_address", Address(used, 4001))
        node._registry._hang_up(frozenset({"10.0.0.3", "fd00::3", "fe80::3%eth0"}))
        assert peer.connection.is_closing is is_lost
