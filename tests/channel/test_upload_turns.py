"""A server sends to a few clients at a time; small lone requests do not wait."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from shoal.channel.server import ChannelServer
from shoal.core.manifest.chunks import Chunks
from shoal.core.schedule.turns import FIRST_LIMIT, HELD_TIME
from shoal.core.wire.messages import Request, encode_frame
from shoal.transfer.receiver import LONE_SIZE
from tests.channel.test_upload_slots import Client
from tests.helpers.memory_store import MemoryStore
from tests.helpers.resources import make_resources
from tests.helpers.virtual_time import virtual_time

COUNT = 40


class ColdStore(MemoryStore):
    """A store whose chunks come from a disk, so that threads read them."""

    def get_now(self, index: int) -> None:
        return None

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        return [None for _ in indexes]


def ask(client: Client, *indexes: int) -> None:
    client._transport.write(b"".join(encode_frame(Request(i)) for i in indexes))


@asynccontextmanager
async def serving_greedy_clients(
    size: int, clients: int = FIRST_LIMIT
) -> AsyncIterator[ChannelServer]:
    """Serve chunks of this size, and let clients that read nothing have every place."""
    store = ColdStore(Chunks(COUNT * size, size))
    for index in range(COUNT):
        store.put(index, bytes(size))
    with ThreadPoolExecutor(1) as threads:
        server = ChannelServer(store, None, make_resources(threads))
        for _ in range(clients):
            greedy = Client(server)
            greedy._transport.pause_reading()
            ask(greedy, *range(COUNT))
        await asyncio.sleep(HELD_TIME / 4)
        try:
            yield server
        finally:
            await server.aclose()


@virtual_time
async def test_a_small_lone_request_does_not_wait_for_other_clients() -> None:
    async with serving_greedy_clients(LONE_SIZE) as server:
        bulk, lone = Client(server), Client(server)
        ask(bulk, 1, 2)
        ask(lone, 3)
        await asyncio.sleep(HELD_TIME / 4)
        assert lone.received > LONE_SIZE
        assert not bulk.received
        await asyncio.sleep(HELD_TIME)
        assert bulk.received > 2 * LONE_SIZE


@virtual_time
async def test_a_large_lone_request_waits_for_other_clients() -> None:
    async with serving_greedy_clients(LONE_SIZE + 1) as server:
        lone = Client(server)
        ask(lone, 3)
        await asyncio.sleep(HELD_TIME / 4)
        assert not lone.received
        await asyncio.sleep(HELD_TIME)
        assert lone.received > LONE_SIZE


@virtual_time
async def test_many_clients_that_read_nothing_do_not_hold_up_one_of_their_host() -> (
    None
):
    async with serving_greedy_clients(LONE_SIZE, 100) as server:
        honest = Client(server)
        ask(honest, 1, 2)
        await asyncio.sleep(2 * HELD_TIME)
        assert honest.received > 2 * LONE_SIZE
