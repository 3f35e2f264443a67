"""Of the protocols that a router speaks, the preferred one is used if it is in time."""

import asyncio

import pytest

from shoal.errors import RouterError
from shoal.mapping.base import Mapped, Method
from shoal.mapping.methods import GRACE, Probe
from tests.helpers.virtual_time import now, virtual_time


class Named:
    """A method that only has a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def map(self, port: int, wanted: int) -> Mapped:
        raise AssertionError("not called")

    async def unmap(self, port: int, outside: int) -> None:
        raise AssertionError("not called")


async def find(name: str, after: float) -> Method:
    """Find a method after some seconds; never after 100."""
    await asyncio.sleep(after)
    if after >= 100:
        raise RouterError("it does not answer")
    return Named(name)


@pytest.mark.parametrize(
    ("pcp", "natpmp", "upnp", "chosen", "at"),
    [
        (0.1, 0.0, 0.0, "PCP", 0.1),
        (GRACE - 0.1, 0.0, 0.0, "PCP", GRACE - 0.1),
        (GRACE + 0.1, 0.0, 0.0, "NAT-PMP", GRACE),
        (100.0, 100.0, 3.0, "UPnP", 3.0),
        (100.0, 5.0, 3.0, "UPnP", 3.0),
    ],
)
@virtual_time
async def test_the_preferred_protocol_is_awaited_for_a_moment(
    pcp: float, natpmp: float, upnp: float, chosen: str, at: float
) -> None:
    began = now()
    searches = {
        "PCP": find("PCP", pcp),
        "NAT-PMP": find("NAT-PMP", natpmp),
        "UPnP": find("UPnP", upnp),
    }
    async with Probe(searches) as probe:
        method = await probe.next()
        assert method is not None
        assert method.name == chosen
        assert now() - began == pytest.approx(at, abs=0.01)


@virtual_time
async def test_the_others_follow_in_their_order_and_failures_are_kept() -> None:
    searches = {
        "PCP": find("PCP", 100.0),
        "NAT-PMP": find("NAT-PMP", 1.5),
        "UPnP": find("UPnP", 0.5),
    }
    async with Probe(searches) as probe:
        found = []
        while (method := await probe.next()) is not None:
            found.append(method.name)
    assert found == ["UPnP", "NAT-PMP"]
    assert probe.failures == {"PCP": "it does not answer"}
