"""The UDP socket of the DHT client, which QUIC shares."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shoal.core.names.address import Address
from shoal.discovery.udp import UdpClient
from shoal.transport.datagrams import BatchSocket

PATIENCE = 15.0  # seconds
OURS = b"quic"


class Client:
    """A client whose datagrams that begin with `OURS` are diverted."""

    def __init__(self, port: int | None) -> None:
        self.handled: asyncio.Queue[bytes] = asyncio.Queue()
        self.diverted: asyncio.Queue[bytes] = asyncio.Queue()
        self.udp = UdpClient(
            "127.0.0.1", lambda data, source: self.handled.put_nowait(data)
        )
        if port is not None:
            self.udp.share(port, self._divert)

    def _divert(self, data: bytes, segment: int, source: Address) -> bool:
        if data.startswith(OURS):
            self.diverted.put_nowait(data)
        return data.startswith(OURS)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.udp.local_port)


@asynccontextmanager
async def client(port: int | None = 0) -> AsyncIterator[Client]:
    made = Client(port)
    await made.udp.open()
    try:
        async with asyncio.timeout(PATIENCE):
            yield made
    finally:
        await made.udp.aclose()


async def test_each_protocol_gets_its_datagrams_and_no_other() -> None:
    async with client() as one, client() as other:
        one.udp.send(b"d1:rd2:id", other.address)
        one.udp.send_many([OURS + b"1", OURS + b"2"], other.address)
        one.udp.send(b"d1:r", other.address)
        assert await other.handled.get() == b"d1:rd2:id"
        assert await other.diverted.get() == OURS + b"1" + OURS + b"2"
        assert await other.handled.get() == b"d1:r"
        assert other.diverted.empty()


async def test_the_socket_has_the_wanted_port_if_it_is_free() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with client(port) as one:
            assert one.udp.local_port not in (0, port)
    async with client(port) as one:
        assert one.udp.local_port == port


async def test_a_socket_that_is_not_shared_sends_no_batch() -> None:
    async with client(None) as one, client() as other:
        one.udp.send_many([OURS], other.address)
        one.udp.send(b"d1:r", other.address)
        assert await other.handled.get() == b"d1:r"
        assert other.diverted.empty()


async def test_a_socket_is_shared_from_its_next_opening_on() -> None:
    async with client(None) as one, client() as other:
        one.udp.share(0, one._divert)
        assert one.udp.local_port == 0
        await one.udp.open()
        assert isinstance(one.udp._socket, BatchSocket)
        other.udp.send(OURS, one.address)
        assert await one.diverted.get() == OURS
