"""A port is mapped by the best protocol, renewed, mapped anew, and given back."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shoal.core.names.address import Address
from shoal.core.report.status import PortMapping
from shoal.mapping import exchange, mapper
from shoal.mapping.base import LIFETIME
from shoal.mapping.mapper import Keeper
from shoal.net.gateway import Gateway
from tests.helpers.fake_router import FakeRouter, fake_router

PORT = 4001
OUTSIDE = bytes((203, 0, 113, 9))
HOST = "203.0.113.9"


def speak_pcp(request: bytes, *, lifetime: int = LIFETIME, moved: int = 0) -> bytes:
    """Answer as a router that speaks PCP and maps any port, `moved` by some."""
    head = bytes((2, 0x80 | request[1], 0, 0)) + struct.pack("!II", lifetime, 1)
    body = request[24:40]  # nonce and protocol
    inside, _ = struct.unpack_from("!HH", request, 40) if body else (0, 0)
    ports = struct.pack("!HH", inside, inside + moved)
    mapped = bytes(10) + b"\xff\xff" + OUTSIDE
    return head + bytes(12) + (body + ports + mapped if body else b"")


def speak_natpmp(request: bytes) -> bytes:
    """Answer as a router that speaks NAT-PMP only, also to PCP."""
    if request[0]:
        return bytes((0, 0x80 | request[1], 0, 1)) + bytes(4)
    if not request[1]:
        return bytes((0, 128)) + bytes(6) + OUTSIDE
    inside, _, lifetime = struct.unpack_from("!HHI", request, 4)
    return bytes((0, 130)) + bytes(6) + struct.pack("!HHI", inside, 5001, lifetime)


class Changes:
    """The mappings that a keeper has had, in order."""

    def __init__(self) -> None:
        self.keeper: Keeper
        self.seen: asyncio.Queue[PortMapping | None] = asyncio.Queue()

    def note(self) -> None:
        self.seen.put_nowait(self.keeper.mapping)


@asynccontextmanager
async def keeping(router: FakeRouter) -> AsyncIterator[Changes]:
    """Keep `PORT` mapped by a router; at the end, give it back."""
    changes = Changes()

    def find() -> Gateway:
        return router.gateway

    changes.keeper = kept = Keeper(
        PORT, find=find, multicasts=False, on_change=changes.note
    )
    task = asyncio.create_task(kept.run())
    try:
        yield changes
    finally:
        task.cancel()
        await asyncio.wait([task])
        await kept.give_back()


async def test_a_port_is_mapped_by_pcp_and_given_back() -> None:
    async with fake_router() as router:
        router.answer_datagram = speak_pcp
        async with keeping(router) as changes:
            mapped = await changes.seen.get()
            assert mapped == PortMapping(PORT, Address(HOST, PORT), "PCP")
        assert router.asked[-1][4:8] == bytes(4)  # a lifetime of none
        asked = [each for each in router.asked if each[:2] == b"\x02\x01"]
        assert len({each[24:36] for each in asked}) == 1  # with the nonce that made it


async def test_a_router_that_speaks_natpmp_only_maps_by_that() -> None:
    async with fake_router() as router:
        router.answer_datagram = speak_natpmp
        async with keeping(router) as changes:
            mapped = await changes.seen.get()
            assert mapped == PortMapping(PORT, Address(HOST, 5001), "NAT-PMP")
        assert router.asked[-1] == b"\0\2\0\0" + struct.pack("!HHI", PORT, 0, 0)


async def test_a_change_of_the_network_renews_the_mapping() -> None:
    async with fake_router() as router:
        router.answer_datagram = speak_pcp
        async with keeping(router) as changes:
            await changes.seen.get()
            router.answer_datagram = lambda request: speak_pcp(request, moved=7)
            changes.keeper.restart()
            mapped = await changes.seen.get()
            assert mapped is not None
            assert mapped.outside.port == PORT + 7


async def test_another_router_is_asked_after_a_change_of_the_network() -> None:
    async with fake_router() as old, fake_router() as router:
        old.answer_datagram = speak_pcp
        router.answer_datagram = speak_natpmp
        async with keeping(old) as changes:
            await changes.seen.get()
            old.gateway = router.gateway
            changes.keeper.restart()
            assert await changes.seen.get() is None
            mapped = await changes.seen.get()
            assert mapped is not None
            assert mapped.method == "NAT-PMP"


async def test_a_mapping_that_the_router_no_longer_renews_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with fake_router() as router:
        router.answer_datagram = speak_pcp
        async with keeping(router) as changes:
            await changes.seen.get()
            monkeypatch.setattr(exchange, "RESEND", (0.01,))
            monkeypatch.setattr(exchange, "SEARCH_RESEND", (0.01,))
            router.answer_datagram = lambda request: None
            changes.keeper.restart()
            assert await changes.seen.get() is None


async def test_upnp_is_used_if_nothing_else_is_spoken() -> None:
    kind = "urn:schemas-upnp-org:service:WANIPConnection:1"
    description = (
        f"<root><service><serviceType>{kind}</serviceType>"
        "<controlURL>/ctl</controlURL></service></root>"
    )
    taken: list[bytes] = []

    def answer(request: bytes) -> bytes:
        if request.startswith(b"GET /desc.xml "):
            return b"HTTP/1.1 200 OK\r\n\r\n" + description.encode()
        if b"#GetExternalIPAddress" in request:
            body = f"<NewExternalIPAddress>{HOST}</NewExternalIPAddress>"
            return b"HTTP/1.1 200 OK\r\n\r\n" + body.encode()
        taken.append(request)
        code = {1: 718, 2: 725}.get(len(taken))  # taken; only without an end
        if code is None:
            return b"HTTP/1.1 200 OK\r\n\r\n<r/>"
        head = b"HTTP/1.1 500 Internal Server Error\r\n\r\n"
        return head + b"<e><errorCode>%d</errorCode></e>" % code

    async with fake_router() as router:
        router.answer_search = lambda request: router.location()
        router.answer_http = answer
        # What speaks NAT-PMP refuses to map.
        refusal = bytes((0, 130)) + struct.pack("!HI", 2, 1)
        router.answer_datagram = lambda request: (
            refusal if request[:2] == b"\0\2" else speak_natpmp(request)
        )
        async with keeping(router) as changes:
            mapped = await changes.seen.get()
            assert mapped == PortMapping(PORT, Address(HOST, PORT + 1), "UPnP")
        assert b"#DeletePortMapping" in router.asked[-1]


@pytest.mark.parametrize(
    ("lifetime", "wait"),
    [(1, mapper.LEAST_WAIT), (600, 300.0), (2**32 - 1, mapper.MOST_WAIT), (0, 600.0)],
)
def test_a_router_does_not_choose_how_often_it_is_asked(
    lifetime: int, wait: float
) -> None:
    assert mapper.renewal_wait(lifetime) == wait
