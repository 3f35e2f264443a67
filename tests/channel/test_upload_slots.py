"""Connections of idle clients are closed when a new client needs a place."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from shoal.channel.server import MAX_CLIENTS, USE_TIME, ChannelServer
from shoal.core.manifest.chunks import Chunks
from shoal.core.names.address import Address
from shoal.core.wire.messages import Request, encode_frame
from tests.helpers.memory_net import MemoryTransport
from tests.helpers.memory_store import MemoryStore
from tests.helpers.resources import make_resources
from tests.helpers.virtual_time import virtual_time

CHUNKS = Chunks(3000, 1024)


class Client(asyncio.BufferedProtocol):
    """The client's end of a connection."""

    def __init__(self, server: ChannelServer) -> None:
        self.is_lost = False
        self.received = 0
        self._buffer = memoryview(bytearray(1 << 16))
        self._transport = MemoryTransport(self, Address("10.0.0.1", 1))
        connection = server.accept()
        far = MemoryTransport(connection, Address("10.0.0.9", 1))
        self._transport.other, far.other = far, self._transport
        connection.connection_made(far)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True

    def hang_up(self) -> None:
        self._transport.abort()

    async def take(self) -> None:
        self._transport.write(encode_frame(Request(0)))
        await asyncio.sleep(0.01)
        assert self.received >= 1024
        self.received = 0


@asynccontextmanager
async def serving() -> AsyncIterator[ChannelServer]:
    store = MemoryStore(CHUNKS)
    store.put(0, bytes(1024))
    with ThreadPoolExecutor(1) as threads:
        server = ChannelServer(store, None, make_resources(threads))
        try:
            yield server
        finally:
            await server.aclose()


@virtual_time
async def test_a_new_client_replaces_the_oldest_client_that_received_nothing() -> None:
    async with serving() as server:
        user = Client(server)
        await user.take()
        crowd = [Client(server) for _ in range(MAX_CLIENTS - 1)]
        await asyncio.sleep(1)
        late = Client(server)
        await late.take()
        assert [each.is_lost for each in crowd].index(False) == 1
        crowd += [Client(server) for _ in range(2 * MAX_CLIENTS)]
        await asyncio.sleep(1)
        assert (user.is_lost, late.is_lost) == (False, False)
        assert len(server) == MAX_CLIENTS


@virtual_time
async def test_a_new_client_is_refused_while_all_others_receive_chunks() -> None:
    async with serving() as server:
        crowd = [Client(server) for _ in range(MAX_CLIENTS)]
        for each in crowd:
            await each.take()
        late = Client(server)
        await asyncio.sleep(1)
        assert late.is_lost
        assert not any(each.is_lost for each in crowd)
        await asyncio.sleep(USE_TIME)
        await Client(server).take()
        assert [each.is_lost for each in crowd[:2]] == [True, False]


@virtual_time
async def test_idle_clients_are_disconnected_when_the_system_runs_out_of_sockets() -> (
    None
):
    async with serving() as server:
        users = [Client(server) for _ in range(5)]
        for each in users:
            await each.take()
        idle = [Client(server) for _ in range(5)]
        assert server.make_room(3) == 3
        # Connections that are closing are not counted again.
        assert server.make_room(16) == 2
        assert server.make_room(16) == 0
        await asyncio.sleep(1)
        assert all(each.is_lost for each in idle)
        # The limit stays at the remaining clients until half of them have left.
        assert len(server) == 5
        late = Client(server)
        await asyncio.sleep(1)
        assert late.is_lost
        assert not any(each.is_lost for each in users)
        for each in users[:3]:
            each.hang_up()
        await asyncio.sleep(1)
        crowd = [Client(server) for _ in range(20)]
        await asyncio.sleep(1)
        assert not any(each.is_lost for each in crowd)
