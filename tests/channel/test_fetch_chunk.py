"""Fetching one chunk from honest and misbehaving servers, over real sockets."""

import asyncio

import pytest

from shoal.errors import NotFoundError, UsageError, VerificationError
from tests.helpers.badpeers import (
    ClosesAfterHandshake,
    Drips,
    EndlessLength,
    FlipsABit,
    NeverAnswers,
    SendsUnsolicited,
    WrongHashes,
)
from tests.helpers.fakeserver import FakeServer, GreetsLate
from tests.helpers.fetching import fetch_chunk
from tests.helpers.wire import Content, frame

CONTENT = Content.make(5000)
LAST = CONTENT.count - 1


@pytest.mark.parametrize("index", [0, 2, LAST])
async def test_a_chunk_is_what_the_id_names(index: int) -> None:
    async with FakeServer(CONTENT) as server:
        data = await fetch_chunk(CONTENT.id, index, [server.address])
    assert data == CONTENT.chunk(index)
    assert server.requests == [index]


@pytest.mark.parametrize(
    "kind",
    [
        *(ClosesAfterHandshake, Drips, EndlessLength, FlipsABit, NeverAnswers),
        *(SendsUnsolicited, WrongHashes),
    ],
)
async def test_another_server_is_asked_when_one_fails(
    kind: type[FakeServer],
) -> None:
    async with kind(CONTENT) as bad, GreetsLate(CONTENT) as honest:
        asking = asyncio.create_task(
            fetch_chunk(CONTENT.id, 1, [bad.address, honest.address])
        )
        if kind not in (EndlessLength, WrongHashes):
            await bad.wait_until(lambda: bool(bad.requests) or bad.connections > 1)
        honest.released.set()
        assert await asking == CONTENT.chunk(1)


async def test_a_second_server_is_not_asked_while_the_first_answers() -> None:
    async with FakeServer(CONTENT) as one, GreetsLate(CONTENT) as two:
        await fetch_chunk(CONTENT.id, 0, [one.address, two.address])
    assert (one.requests, two.requests) == ([0], [])


@pytest.mark.parametrize("index", [CONTENT.count, 10**9])
async def test_an_index_out_of_range_is_not_requested_and_the_error_names_the_range(
    index: int,
) -> None:
    async with FakeServer(CONTENT) as server:
        with pytest.raises(UsageError, match=f"from 0 to {LAST}"):
            await fetch_chunk(CONTENT.id, index, [server.address])
    assert server.requests == []


async def test_a_chunk_of_an_empty_share_is_a_usage_error() -> None:
    empty = Content(b"")
    async with FakeServer(empty) as server:
        with pytest.raises(UsageError, match="empty"):
            await fetch_chunk(empty.id, 0, [server.address])


async def test_a_chunk_of_a_named_channel_is_not_verified() -> None:
    async with FakeServer(CONTENT, named=True) as server:
        data = await fetch_chunk("a name", 3, [server.address])
    assert data == CONTENT.chunk(3)


async def test_the_server_of_a_named_channel_reports_the_range_of_indexes() -> None:
    class Silent(FakeServer):
        async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
            pass

    async with Silent(CONTENT, named=True) as server:
        with pytest.raises(UsageError, match=f"from 0 to {LAST}"):
            await fetch_chunk("a name", LAST + 1, [server.address])


async def test_a_chunk_is_verified_without_sizes_in_the_handshake() -> None:
    class Sizeless(FakeServer):
        async def greet(self, writer: asyncio.StreamWriter) -> None:
            sizes = {"fileSize": None, "chunkSize": None}
            writer.write(frame(self.content.handshake(**sizes)))

    async with Sizeless(CONTENT) as server:
        assert await fetch_chunk(CONTENT.id, 4, [server.address]) == CONTENT.chunk(4)


async def test_one_chunk_from_only_liars_raises_a_verification_error() -> None:
    async with FlipsABit(CONTENT) as liar:
        with pytest.raises(VerificationError):
            await fetch_chunk(CONTENT.id, 0, [liar.address], timeout=1)


async def test_no_server_in_time_is_a_not_found_error() -> None:
    with pytest.raises(NotFoundError):
        await fetch_chunk(CONTENT.id, 0, [], timeout=0.5)
