"""A hostile router, or a neighbour in its place, gains nothing by port mapping."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

import pytest

from shoal.core.names.address import Address
from shoal.core.report.status import PortMapping
from shoal.errors import RouterError
from shoal.mapping import exchange, methods
from shoal.mapping.mapper import Keeper
from shoal.mapping.methods import find_natpmp, find_pcp, find_upnp
from shoal.mapping.packets import NONCE_SIZE
from shoal.mapping.responses import MAX_RESPONSE
from shoal.net.gateway import Gateway
from tests.helpers.fake_router import FakeRouter, fake_router

PORT = 4001
NONCE = bytes(NONCE_SIZE)
OK = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture(autouse=True)
def _give_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for answers that never come for a moment only."""
    monkeypatch.setattr(exchange, "RESEND", (0.05, 0.05))
    monkeypatch.setattr(exchange, "SEARCH_RESEND", (0.05, 0.05))


async def problem_of(router: FakeRouter) -> str:
    """Return what a keeper says of a router that is of no use."""
    keeper = Keeper(
        PORT, find=lambda: router.gateway, multicasts=False, on_change=lambda: None
    )
    task = asyncio.create_task(keeper.run())
    await keeper.has_tried.wait()
    task.cancel()
    await asyncio.wait([task])
    assert keeper.mapping is None
    assert keeper.problem is not None
    return keeper.problem


class _Answering(asyncio.DatagramProtocol):
    """Answer every request by PCP with a mapping at one address and port."""

    def __init__(self, host: str, port: int) -> None:
        self._host = socket.inet_pton(socket.AF_INET6, host)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        head = bytes((2, 0x80 | data[1], 0, 0)) + bytes(20)
        mapped = data[24:42] + struct.pack("!H", self._port) + self._host
        self._transport.sendto(head + (mapped if data[1] else b""), addr)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("::ffff:203.0.113.9", PORT, "an address of another kind"),
        ("2a00:1::2", PORT + 1, "another port"),
        ("2a00:1::2", PORT, ""),
    ],
)
async def test_a_router_of_ipv6_cannot_change_the_kind_of_address_or_the_port(
    host: str, port: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Answering(host, port), local_addr=("::1", 0)
    )
    number = transport.get_extra_info("sockname")[1]
    monkeypatch.setattr(methods, "SERVER_PORT", number)
    try:
        router = await find_pcp(Gateway("::1", "lo", "::1"), NONCE)
        if said:
            with pytest.raises(RouterError, match=said):
                await router.map(PORT, PORT)
        else:
            assert (await router.map(PORT, PORT)).outside == Address(host, PORT)
    finally:
        transport.close()


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: None,
        lambda request: os.urandom(40),
        lambda request: request,
        lambda request: bytes((2, 0x80 | request[1], 0, 0)) + bytes(56),
        lambda request: b"HTTP/1.1 200 OK\r\nLOCATION: http://192.0.2.1/\r\n\r\n",
    ],
    ids=["nothing", "noise", "an echo", "another nonce", "another host"],
)
async def test_nonsense_maps_nothing(answer: Callable[[bytes], bytes | None]) -> None:
    async with fake_router() as router:
        router.answer_datagram = router.answer_search = answer
        problem = await problem_of(router)
        assert problem.startswith(f"The router at {router.gateway.address} maps no")
        # Each packet was sent as often as planned, and no more.
        assert len(router.asked) <= 3 * (len(exchange.RESEND) + 2)


async def test_an_answer_from_another_address_is_not_read() -> None:
    async with fake_router() as router, fake_router() as neighbour:
        neighbour.answer_search = lambda request: neighbour.location()
        # A search goes to the neighbour too, as it does by multicast.
        with pytest.raises(RouterError, match="does not answer"):
            await exchange.search(
                router.gateway,
                [b"M-SEARCH * HTTP/1.1\r\n\r\n"],
                [(neighbour.gateway.address, 1900), (router.gateway.address, 1900)],
                lambda data: data,
            )
        assert len(neighbour.asked) == 2


async def test_no_other_host_is_connected_to() -> None:
    async with fake_router() as router, fake_router() as victim:
        router.answer_search = lambda request: victim.location()
        with pytest.raises(RouterError, match="does not answer"):
            await find_upnp(router.gateway, multicasts=False)
        # Neither to one that the description names.
        router.answer_search = lambda request: router.location()
        router.answer_http = lambda request: (
            OK
            + (
                b"<r><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1"
                b"</serviceType><controlURL>http://%s:%d/</controlURL></service></r>"
                % (victim.gateway.address.encode(), victim.http_port)
            )
        )
        with pytest.raises(RouterError, match="maps no ports"):
            await find_upnp(router.gateway, multicasts=False)
        assert not victim.asked


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b"<!DOCTYPE r [<!ENTITY a 'aaaa'>]><r>&a;</r>", "document type"),
        (b"<r>" + 9000 * b"<a/>" + b"</r>", "too many elements"),
        (200 * b"<a>", "too many elements"),
        (MAX_RESPONSE * b"a", "too large"),
        (b"\xff\xfe\x00", "other than XML"),
        (b"<r/>", "maps no ports"),
    ],
    ids=["entities", "wide", "deep", "huge", "no XML", "empty"],
)
async def test_a_hostile_description_is_refused(page: bytes, said: str) -> None:
    async with fake_router() as router:
        router.answer_search = lambda request: router.location()
        router.answer_http = lambda request: OK + page
        with pytest.raises(RouterError, match=said):
            await find_upnp(router.gateway, multicasts=False)


async def test_a_response_that_never_ends_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "HTTP_TIME", 0.2)
    async with fake_router() as router:
        router.answer_search = lambda request: router.location()
        router.holds_http = True
        with pytest.raises(RouterError, match="does not respond"):
            await find_upnp(router.gateway, multicasts=False)


@pytest.mark.parametrize("address", [bytes(4), bytes((10, 0, 0, 1)), b"\x7f\0\0\1"])
async def test_an_address_that_is_not_on_the_internet_is_not_called_reachable(
    address: bytes,
) -> None:
    async with fake_router() as router:
        router.answer_datagram = lambda request: (
            bytes((0, 128)) + bytes(6) + address
            if request == b"\0\0"
            else bytes((0, 130)) + bytes(6) + struct.pack("!HHI", PORT, PORT, 60)
        )
        mapped = await (await find_natpmp(router.gateway)).map(PORT, PORT)
        assert not PortMapping(PORT, mapped.outside, "NAT-PMP").is_global


async def test_a_port_that_is_none_is_refused() -> None:
    async with fake_router() as router:
        router.answer_datagram = lambda request: (
            bytes((0, 128)) + bytes(10)
            if request == b"\0\0"
            else bytes((0, 130)) + bytes(6) + struct.pack("!HHI", PORT, 0, 60)
        )
        with pytest.raises(RouterError, match="an invalid port"):
            await (await find_natpmp(router.gateway)).map(PORT, PORT)


async def test_a_mapping_with_the_nonce_of_another_is_not_believed() -> None:
    async with fake_router() as router:
        head = bytes((2, 0x81, 0, 0)) + bytes(20)
        ports = struct.pack("!HH", PORT, PORT) + bytes(10) + b"\xff\xff\1\1\1\1"
        router.answer_datagram = lambda request: (
            head + os.urandom(NONCE_SIZE) + bytes((6, 0, 0, 0)) + ports
            if request[1]
            else bytes((2, 0x80)) + bytes(22)
        )
        with pytest.raises(RouterError, match="does not answer"):
            await (await find_pcp(router.gateway, NONCE)).map(PORT, PORT)
