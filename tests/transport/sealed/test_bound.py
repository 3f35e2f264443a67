"""Nodes dial the internet from the port that they listen on.

The tests that need global addresses are in `tests/reach`.
"""

import asyncio
import ctypes
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from struct import pack

import pytest

from shoal.core.crypto.keys import derive_keys
from shoal.core.names.address import Address
from shoal.errors import NetworkError
from shoal.transport.sealed.bound import (
    _first_of,
    aside_port,
    can_share,
    connect_from,
)
from shoal.transport.sealed.port import Port
from tests.helpers.sealed import PATIENCE

KEYS, OTHER_KEYS = derive_keys(bytes(range(32))), derive_keys(bytes(32))

pytestmark = pytest.mark.skipif(not can_share, reason="no SO_REUSEPORT")


@asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[Port]:
    made = Port(["127.0.0.1"], port)
    try:
        yield made
    finally:
        await made.aclose()


class Target:
    """A program that listens, for a node to dial."""

    def __init__(self, server: socket.socket) -> None:
        server.setblocking(False)
        self.address = Address(*server.getsockname()[:2])
        self._server = server

    async def port(self) -> int:
        """Return the port that the next connection comes from."""
        accepted, address = await asyncio.get_running_loop().sock_accept(self._server)
        accepted.close()
        return int(address[1])


@pytest.fixture
def target() -> Iterator[Target]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Target(server)


async def test_a_node_dials_from_its_listening_port(
    target: Target,
) -> None:
    async with listening() as node:
        with await connect_from(node.port, target.address, KEYS, lambda port: None):
            assert await target.port() == node.port


async def test_a_second_connection_to_an_address_is_from_another_port(
    target: Target,
) -> None:
    async with listening() as node:
        with await connect_from(node.port, target.address, KEYS, lambda port: None):
            assert await target.port() == node.port
            with await connect_from(node.port, target.address, KEYS, lambda port: None):
                assert await target.port() != node.port


async def test_a_second_connection_is_from_a_port_aside_to_one_aside() -> None:
    """Nodes that dial each other for a second share meet there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname()[:2])
        async with listening() as node:
            dial = partial(connect_from, node.port, address, KEYS, node.listen_aside)
            with await dial(), server.accept()[0]:
                server.close()  # nothing accepts a dial from any other port
                waiting = asyncio.ensure_future(dial())
                theirs = ("127.0.0.1", aside_port(address.port, KEYS))
                with socket.create_server(theirs) as beside, await waiting:
                    port = await Target(beside).port()
                    assert port == aside_port(node.port, KEYS)


async def test_a_node_listens_aside_for_a_while() -> None:
    async with listening() as node:
        port = aside_port(node.port, KEYS)
        node.listen_aside(port)
        node.listen_aside(port)
        socket.create_connection(("127.0.0.1", port)).close()
        node._end_aside(port)
        await asyncio.wait([each for each in node._tasks if each.cancelling()])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        node.listen_aside(port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_a_node_listens_at_so_many_ports_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shoal.transport.sealed.port.MAX_ASIDES", 1)
    async with listening() as node:
        first, second = (aside_port(node.port, keys) for keys in (KEYS, OTHER_KEYS))
        node.listen_aside(first)
        node.listen_aside(second)
        socket.create_connection(("127.0.0.1", first)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", second))


@pytest.mark.skipif(sys.platform != "linux", reason="filters packets as Linux does")
async def test_a_known_host_that_does_not_answer_is_dialled_from_any_port() -> None:
    """Behind its router the address may lead to the port of another connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname()[:2])
        async with listening() as node:
            drop_from(server, node.port)
            async with asyncio.timeout(PATIENCE):
                with await connect_from(
                    node.port, address, KEYS, node.listen_aside, is_known=True
                ):
                    assert await Target(server).port() != node.port


async def test_a_known_host_that_answers_is_dialled_once(target: Target) -> None:
    async with listening() as node:
        dial = partial(connect_from, node.port, is_known=True)
        with await dial(target.address, KEYS, node.listen_aside):
            assert await target.port() == node.port
            with await dial(target.address, KEYS, node.listen_aside):
                assert await target.port() != node.port
    with pytest.raises(ConnectionRefusedError):
        await dial(Address("127.0.0.1", 1), KEYS, node.listen_aside)


def drop_from(server: socket.socket, port: int) -> None:
    """Drop the packets to a listening socket that come from a port."""
    attach_filter = 26  # SO_ATTACH_FILTER of Linux
    load, is_port, end = 0x28, 0x15, 0x06  # of linux/bpf_common.h
    steps = [(load, 0, 0, 0), (is_port, 0, 1, port), (end, 0, 0, 0), (end, 0, 0, 65535)]
    code = ctypes.create_string_buffer(b"".join(pack("=HBBI", *s) for s in steps))
    program = pack("@HP", len(steps), ctypes.addressof(code))
    server.setsockopt(socket.SOL_SOCKET, attach_filter, program)


async def test_a_port_that_another_program_has_is_not_used(
    target: Target,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with await connect_from(taken, target.address, KEYS, lambda port: None):
            assert await target.port() != taken


async def test_two_nodes_cannot_listen_on_one_port_even_while_one_dials(
    target: Target,
) -> None:
    async with listening() as node:
        with await connect_from(node.port, target.address, KEYS, lambda port: None):
            with pytest.raises(NetworkError, match="in use"):
                Port(["127.0.0.1"], node.port)


async def test_a_node_listens_again_on_a_port_that_it_dials_from(
    target: Target,
) -> None:
    async with listening() as node:
        with await connect_from(node.port, target.address, KEYS, lambda port: None):
            accepting = list(node._accepting.values())
            node.listen_on([])
            await asyncio.wait(accepting)
            node.listen_on(["127.0.0.1"])
            assert list(node._accepting) == ["127.0.0.1"]
            assert await target.port() == node.port


async def test_an_address_that_refuses_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = Address(*server.getsockname()[:2])
    async with listening() as node:
        with pytest.raises(ConnectionRefusedError):
            await connect_from(node.port, closed, KEYS, lambda port: None)


async def test_the_port_aside_is_that_of_the_number_that_the_router_has() -> None:
    """A peer computes it from the number that it dials."""
    number, asides = 12_345, list[int]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname()[:2])
        async with listening() as node:
            dial = partial(connect_from, node.port, address, KEYS, asides.append)
            with await dial(number=number), await dial(number=number):
                assert asides == [aside_port(number, KEYS)]


async def test_no_socket_stays_open_if_a_dial_is_cancelled_as_it_connects() -> None:
    one, other = socket.socketpair()
    is_ending, may_end = asyncio.Event(), asyncio.Event()

    async def connects() -> socket.socket:
        return one

    async def ends_slowly() -> socket.socket:
        try:
            await asyncio.Event().wait()
        finally:
            is_ending.set()
            await may_end.wait()
        raise AssertionError("it was not cancelled")

    with other:
        dialling = asyncio.create_task(_first_of(connects(), ends_slowly()))
        await is_ending.wait()
        dialling.cancel()
        await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await asyncio.sleep(0)
        assert one.fileno() == -1
