"""One chunk, from servers some of which misbehave, over real sockets."""

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
async def test_another_server_is_asked_when_one_is_of_no_use(
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


async def test_one_server_is_asked_and_the_others_only_when_it_fails() -> None:
    async with FakeServer(CONTENT) as one, GreetsLate(CONTENT) as two:
        await fetch_chunk(CONTENT.id, 0, [one.address, two.address])
    assert (one.requests, two.requests) == ([0], [])


@pytest.mark.parametrize("index", [CONTENT.count, 10**9])
async def test_an_index_too_far_is_never_sent_and_the_range_is_named(
    index: int,
) -> None:
    async with FakeServer(CONTENT) as server:
        with pytest.raises(UsageError, match=f"from 0 to {LAST}"):
            await fetch_chunk(CONTENT.id, index, [server.address])
    assert server.requests == []


async def test_an_empty_share_has_no_chunk_to_ask_for() -> None:
    empty = Content(b"")
    async with FakeServer(empty) as server:
        with pytest.raises(UsageError, match="empty"):
            await fetch_chunk(empty.id, 0, [server.address])


async def test_a_named_channel_gives_what_its_server_says() -> None:
    async with FakeServer(CONTENT, named=True) as server:
        data = await fetch_chunk("a name", 3, [server.address])
    assert data == CONTENT.chunk(3)


async def test_a_named_channels_server_that_knows_the_range_says_it() -> None:
    class Silent(FakeServer):
        async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
            pass

    async with Silent(CONTENT, named=True) as server:
        with pytest.raises(UsageError, match=f"from 0 to {LAST}"):
            await fetch_chunk("a name", LAST + 1, [server.address])


async def test_a_chunk_without_sizes_beside_the_hashes_is_verified() -> None:
    class Sizeless(FakeServer):
        async def greet(self, writer: asyncio.StreamWriter) -> None:
            sizes = {"fileSize": None, "chunkSize": None}
            writer.write(frame(self.content.handshake(**sizes)))

    async with Sizeless(CONTENT) as server:
        assert await fetch_chunk(CONTENT.id, 4, [server.address]) == CONTENT.chunk(4)


async def test_only_liars_is_a_failure_of_its_own() -> None:
    async with FlipsABit(CONTENT) as liar:
        with pytest.raises(VerificationError):
            await fetch_chunk(CONTENT.id, 0, [liar.address], timeout=1)


async def test_nobody_in_time_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        await fetch_chunk(CONTENT.id, 0, [], timeout=0.5)
