"""An open channel read from its first byte to its last."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from random import Random

import pytest

from shoal.channel import stream
from shoal.core.names.address import Address
from shoal.errors import NotFoundError, UnfinishedError, VerificationError
from shoal.node.node import Node
from tests.helpers.badpeers import AgreesWithCountOnly, FlipsABit, StopsHalfway
from tests.helpers.fakeserver import FakeServer, GreetsLate
from tests.helpers.fetching import PATIENCE, here
from tests.helpers.wire import Content

CONTENT = Content.make(100_100)
NAME = "notes"


@asynccontextmanager
async def streaming(
    channel: str, peers: Iterable[Address], timeout: float = PATIENCE
) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """Yield the blocks of a channel that these servers serve."""
    async with Node(here(peers), rng=Random(1)) as node:
        async with aclosing(node.stream_open(channel, timeout=timeout)) as blocks:
            yield blocks


async def read(
    channel: str, peers: Iterable[Address], timeout: float = PATIENCE
) -> bytes:
    """Return all bytes of a channel."""
    async with streaming(channel, peers, timeout) as blocks:
        return b"".join([block async for block in blocks])


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 100_100])
async def test_the_bytes_come_in_order(size: int) -> None:
    content = Content.make(size)
    async with FakeServer(content) as server:
        assert await read(content.id, [server.address]) == content.data


async def test_a_window_smaller_than_the_file_moves_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "WINDOW", 4 * 1024)
    monkeypatch.setattr(stream, "BLOCK", 1024)
    async with FakeServer(CONTENT) as one, FakeServer(CONTENT) as two:
        assert await read(CONTENT.id, [one.address, two.address]) == CONTENT.data


async def test_the_chunk_that_proves_the_size_is_requested_first_then_in_order() -> (
    None
):
    """The first request to a server is for one chunk: the reader waits for it."""
    async with FakeServer(CONTENT) as server:
        assert await read(CONTENT.id, [server.address]) == CONTENT.data
        last = CONTENT.count - 1
        assert server.requests == [last, *range(last)]


async def test_nothing_beyond_the_window_is_requested_until_the_reader_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "WINDOW", 8 * 1024)
    monkeypatch.setattr(stream, "BLOCK", 1024)
    async with FakeServer(CONTENT) as server:
        async with streaming(CONTENT.id, [server.address]) as blocks:
            await anext(blocks)
            await server.wait_until(lambda: 7 in server.requests)
            last = CONTENT.count - 1
            assert set(server.requests) == {*range(8), last}
            rest = [block async for block in blocks]
    assert CONTENT.data.endswith(b"".join(rest))


async def test_a_server_that_sends_wrong_chunks_is_banned() -> None:
    async with FlipsABit(CONTENT) as liar, FakeServer(CONTENT) as honest:
        assert await read(CONTENT.id, [liar.address, honest.address]) == CONTENT.data
    async with FlipsABit(CONTENT) as liar:
        with pytest.raises(VerificationError):
            await read(CONTENT.id, [liar.address], timeout=1)


async def test_no_byte_is_yielded_before_the_size_is_proven() -> None:
    async with AgreesWithCountOnly(CONTENT, {"fileSize": 98 * 1024}) as liar:
        async with GreetsLate(CONTENT) as honest:
            peers = [liar.address, honest.address]
            reading = asyncio.create_task(read(CONTENT.id, peers))
            await liar.wait_until(lambda: bool(liar.requests))
            honest.released.set()
            assert await reading == CONTENT.data


async def test_a_named_channel_whose_servers_disagree_ends_once_bytes_were_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "WINDOW", 8 * 1024)
    monkeypatch.setattr(stream, "BLOCK", 1024)
    other = Content.make(50_000)
    async with FakeServer(other, named=True) as two:
        async with FakeServer(CONTENT, named=True) as one:
            async with streaming(NAME, [one.address, two.address]) as blocks:
                first = await anext(blocks)
                gone, stays = (one, two) if first == CONTENT.chunk(0) else (two, one)
                await stays.wait_until(lambda: stays.connections > 0)
                await gone.aclose()
                with pytest.raises(UnfinishedError, match="disagree about the size"):
                    async for _ in blocks:
                        pass


async def test_an_end_half_way_promises_no_resume() -> None:
    async with StopsHalfway(CONTENT, 30) as server:
        with pytest.raises(NotFoundError) as caught:
            await read(CONTENT.id, [server.address], timeout=1.0)
    assert "resume" not in str(caught.value)
