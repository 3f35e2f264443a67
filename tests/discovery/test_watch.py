"""What counts as a change of this machine's network."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from shoal.config.settings import Settings
from shoal.discovery import watch
from shoal.discovery.combined import Networks
from shoal.discovery.watch import ASLEEP, WATCH_EVERY, NetworkWatch, watch_network
from shoal.net.interfaces import Interface
from tests.helpers.virtual_time import now, virtual_time

HOME = Interface("wlan0", "192.168.1.7", 24)
OFFICE = Interface("wlan0", "10.1.0.9", 16)
BRIDGE = Interface("docker0", "172.17.0.1", 16)


def test_an_address_that_comes_goes_or_changes_is_a_change() -> None:
    seen = NetworkWatch([HOME], 0.0)
    assert not seen.has_changed([HOME], 1.0)
    assert seen.has_changed([HOME, BRIDGE], 2.0)
    assert not seen.has_changed([BRIDGE, HOME], 3.0)
    assert seen.has_changed([OFFICE, BRIDGE], 4.0)
    assert seen.has_changed([OFFICE], 5.0)
    assert not seen.has_changed([OFFICE], 6.0)


def test_a_sleep_is_a_change() -> None:
    seen = NetworkWatch([HOME], 0.0)
    late = WATCH_EVERY + ASLEEP
    assert not seen.has_changed([HOME], late)
    assert seen.has_changed([HOME], 2 * late + 0.1)
    assert not seen.has_changed([HOME], 2 * late + 1)


@virtual_time
async def test_a_change_is_noticed_within_five_seconds_and_told_once() -> None:
    changed: list[float] = []
    interfaces = [HOME]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "list_interfaces", listing(interfaces))
        task = asyncio.create_task(
            watch_network((), lambda found: changed.append(now()), clock=now)
        )
        await asyncio.sleep(100)
        interfaces[:] = [OFFICE]
        at = now()
        await asyncio.sleep(100)
        task.cancel()
        await asyncio.wait([task])
    assert len(changed) == 1
    assert at <= changed[0] <= at + 5


@virtual_time
async def test_a_node_listens_on_the_allowed_addresses_that_were_found() -> None:
    heard: list[list[str]] = []
    interfaces = [HOME]
    networks = Networks(Settings(interfaces=("wlan0",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "list_interfaces", listing(interfaces))
        networks.keep_listening(lambda hosts: heard.append(list(hosts)))
        await asyncio.sleep(10)
        patch.setattr(watch, "list_interfaces", refuse)
        await asyncio.sleep(10)
        interfaces[:] = [OFFICE]
        patch.setattr(watch, "list_interfaces", listing(interfaces))
        await asyncio.sleep(10)
        await networks.aclose()
    assert heard == [[OFFICE.address]]


def refuse(allowed: Sequence[str], *, must_exist: bool = True) -> list[Interface]:
    raise OSError("the kernel does not list its addresses")


def listing(
    interfaces: list[Interface],
) -> Callable[[Sequence[str]], list[Interface]]:
    def list_interfaces(
        allowed: Sequence[str], *, must_exist: bool = True
    ) -> list[Interface]:
        return list(interfaces)

    return list_interfaces
