"""Reads of large chunks fetch only the blocks that they cover."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from math import inf

import pytest

import shoal
from shoal.core.manifest.blocks import BLOCK_SIZE, Run
from shoal.core.schedule.readahead import SHORT_WAIT
from shoal.core.wire.sealed_messages import (
    BlockRequest,
    Cancel,
    Hello,
    Refuse,
    SealedMessage,
    WrongChunk,
)
from shoal.errors import VerificationError
from shoal.reading.file import AsyncFile
from tests.helpers.fetching import here
from tests.helpers.holder import Chunk, Holder, Holding, Talk, make_holding

CHUNK = 1 << 20
PER_CHUNK = CHUNK // BLOCK_SIZE
COUNT = 12
HOLDING = make_holding(COUNT * CHUNK - 5, chunk_size=CHUNK)
DATA = b"".join(HOLDING.chunk(index) for index in range(COUNT))


@asynccontextmanager
async def opened(*holders: Holder) -> AsyncIterator[AsyncFile]:
    """Open the only file that these holders have."""
    settings = here([holder.address for holder in holders])
    async with shoal.Node(settings, rng=random.Random(1)) as node:
        async with node.open(HOLDING.link, timeout=20) as file:
            yield file


async def read_at(file: AsyncFile, position: int, size: int) -> bytes:
    file.seek(position)
    return await file.read(size)


def head(index: int) -> bytes:
    """Return the first nine bytes of a chunk."""
    return DATA[index * CHUNK :][:9]


def blocks_sent(holder: Holder) -> list[tuple[int, int]]:
    """Return the chunk and the number of each block that a holder sent, in order."""
    runs = holder.sent_blocks
    return [(run.index, block) for run in runs for block in run.blocks]


class Mute(Holder):
    """A holder that answers requests for blocks only when `speak` is called."""

    def __init__(self, holding: Holding) -> None:
        super().__init__(holding)
        self.held: list[tuple[Talk, BlockRequest]] = []
        self.cancelled: list[int | None] = []

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        self.held.append((talk, request))

    def on_message(self, talk: Talk, message: SealedMessage | Chunk) -> None:
        super().on_message(talk, message)
        if isinstance(message, Cancel):
            self.cancelled.append(message.read)

    def speak(self) -> None:
        """Answer all pending requests."""
        held, self.held = self.held, []
        for talk, request in held:
            talk.send_blocks(request)


async def test_a_small_read_fetches_the_blocks_it_covers() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        place = 5 * CHUNK + 3 * BLOCK_SIZE - 1
        assert await read_at(file, place, 2) == DATA[place : place + 2]
        assert holder.sent_blocks == [Run(5, 2, 2)]
        assert holder.sent == []


async def test_a_read_across_chunks_fetches_blocks_of_both() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        place = 5 * CHUNK - BLOCK_SIZE
        size = 2 * BLOCK_SIZE
        assert await read_at(file, place, size) == DATA[place : place + size]
        assert blocks_sent(holder) == [(4, PER_CHUNK - 1), (5, 0)]


async def test_the_last_block_of_the_share_may_be_short() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        assert await read_at(file, len(DATA) - 9, 20) == DATA[-9:]
        assert blocks_sent(holder) == [(COUNT - 1, PER_CHUNK - 1)]


async def test_hashes_are_requested_with_the_first_blocks_of_a_chunk_only() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        for block in (9, 3, 6):
            await read_at(file, 2 * CHUNK + block * BLOCK_SIZE, 10)
        (talk,) = holder.talks
        asked = [each for each in talk.received if isinstance(each, BlockRequest)]
        assert [each.hashes for each in asked] == [True, False, False]


async def test_blocks_that_were_read_are_not_fetched_again() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        await read_at(file, 7 * BLOCK_SIZE, 2 * BLOCK_SIZE)
        await read_at(file, 5 * BLOCK_SIZE, 9)
        place, size = 4 * BLOCK_SIZE + 1, 6 * BLOCK_SIZE
        assert await read_at(file, place, size) == DATA[place : place + size]
        assert sorted(blocks_sent(holder)) == [(0, block) for block in range(4, 11)]


async def test_a_chunk_read_block_by_block_is_fetched_once_and_kept_whole() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        order = list(range(PER_CHUNK))
        random.Random(3).shuffle(order)
        for block in order:
            await read_at(file, CHUNK + block * BLOCK_SIZE, BLOCK_SIZE)
        assert sorted(blocks_sent(holder)) == [(1, block) for block in sorted(order)]
        assert await read_at(file, CHUNK, CHUNK) == DATA[CHUNK : 2 * CHUNK]
        assert len(blocks_sent(holder)) == PER_CHUNK
        assert holder.sent == []


async def test_most_of_a_chunk_is_fetched_as_a_chunk() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        place = 3 * CHUNK + BLOCK_SIZE
        size = CHUNK - BLOCK_SIZE
        assert await read_at(file, place, size) == DATA[place : place + size]
        assert holder.sent == [3]
        assert holder.sent_blocks == []


async def test_a_long_read_fetches_whole_chunks_and_blocks_at_its_ends() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        place = 2 * CHUNK - 3 * BLOCK_SIZE
        size = 3 * BLOCK_SIZE + 2 * CHUNK + 2 * BLOCK_SIZE
        assert await read_at(file, place, size) == DATA[place : place + size]
        assert sorted(holder.sent) == [2, 3]
        last = PER_CHUNK - 3
        blocks = [(1, last), (1, last + 1), (1, last + 2), (4, 0), (4, 1)]
        assert sorted(blocks_sent(holder)) == blocks


class Far(Holder):
    """A holder that takes a while to answer, even compared with a busy machine."""

    def on_request(self, talk: Talk, index: int) -> None:
        self.later(8 * SHORT_WAIT, lambda: talk.send_chunk(index))

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        self.later(8 * SHORT_WAIT, lambda: talk.send_blocks(request))


async def test_a_sequential_reader_grows_from_blocks_to_chunks() -> None:
    async with Far(HOLDING) as holder, opened(holder) as file:
        assert b"".join([await file.read(5000) for _ in range(2500)]) == DATA[:12500000]
        in_blocks = {index for index, _ in blocks_sent(holder)}
        assert 0 in in_blocks
        assert set(holder.sent) >= set(range(4, COUNT))
        sent = len(holder.sent) * CHUNK + len(blocks_sent(holder)) * BLOCK_SIZE
        assert sent <= len(DATA) + 2 * CHUNK


async def test_a_sequential_reader_near_its_peer_wastes_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However slow this machine is, it counts as near.
    monkeypatch.setattr("shoal.core.schedule.readahead.SHORT_WAIT", inf)
    async with Holder(HOLDING) as holder, opened(holder) as file:
        size = 5 * CHUNK
        assert b"".join([await file.read(5000) for _ in range(1000)]) == DATA[:5000000]
        sent = len(holder.sent) * CHUNK + len(blocks_sent(holder)) * BLOCK_SIZE
        assert sent <= 1.1 * size


async def test_the_first_bytes_of_a_stream_need_two_blocks() -> None:
    async with Mute(HOLDING) as holder, opened(holder) as file:
        file.seek(4 * CHUNK)
        stream = file.blocks()
        first = asyncio.ensure_future(anext(stream))
        await holder.until(lambda: bool(holder.held))
        talk, request = holder.held[0]
        assert (request.index, request.first, request.count) == (4, 0, 2)
        talk.send_blocks(request)
        assert await first == DATA[4 * CHUNK : 4 * CHUNK + BLOCK_SIZE]
        await stream.aclose()


async def test_a_read_from_two_peers_does_not_wait_for_the_silent_one() -> None:
    async with Mute(HOLDING) as mute, Holder(HOLDING) as holder:
        async with opened(mute, holder) as file:
            await holder.until(lambda: len(holder.talks) == 1)
            await mute.until(lambda: len(mute.talks) == 1)
            for index in range(COUNT):
                assert await read_at(file, index * CHUNK, 9) == head(index)
    assert len(mute.held) <= 1


class Lacks(Holder):
    """A holder that no longer has the blocks that it announced."""

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        talk.send(Refuse(request.index, "missing", request.read))


async def test_refused_blocks_are_requested_from_another_peer() -> None:
    async with Lacks(HOLDING) as lacks, Holder(HOLDING) as holder:
        async with opened(lacks, holder) as file:
            for index in (3, 5, 7):
                assert await read_at(file, index * CHUNK, 9) == head(index)


async def test_a_whole_chunk_is_fetched_if_no_peer_sends_blocks() -> None:
    async with Lacks(HOLDING) as lacks, opened(lacks) as file:
        assert await read_at(file, 3 * CHUNK, 9) == DATA[3 * CHUNK : 3 * CHUNK + 9]
        assert lacks.sent == [3]


class FlipsABit(Holder):
    """A holder that sends wrong blocks."""

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        first = request.first * BLOCK_SIZE
        data = bytearray(self.holding.chunk(request.index)[first:])
        data = data[: request.count * BLOCK_SIZE]
        data[-1] ^= 1
        talk.send_blocks(request, bytes(data))


class OtherHashes(Holder):
    """A holder that sends the block hashes of another chunk."""

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        other = BlockRequest(request.read, 0, request.first, request.count, True)
        talk.send_blocks(other)


@pytest.mark.parametrize("liar", [FlipsABit, OtherHashes])
async def test_a_liar_is_banned_after_one_block(liar: type[Holder]) -> None:
    async with liar(HOLDING) as bad, Holder(HOLDING) as honest:
        async with opened(bad, honest) as file:
            for index in range(1, COUNT):
                assert await read_at(file, index * CHUNK, 9) == head(index)
    assert len(bad.sent_blocks) <= 1


async def test_a_read_of_blocks_from_only_liars_raises_a_verification_error() -> None:
    async with FlipsABit(HOLDING) as liar:
        async with shoal.Node(here([liar.address])) as node:
            async with node.open(HOLDING.link, timeout=1) as file:
                with pytest.raises(VerificationError):
                    await file.read(1)


class TurnsBad(FlipsABit):
    """A holder whose copy of one chunk has changed on the disk."""

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        if request.index == 5:
            super().on_block_request(talk, request)
        else:
            talk.send_blocks(request)


async def test_a_peer_is_told_of_its_first_wrong_block_and_stays() -> None:
    async with TurnsBad(HOLDING) as holder, Holder(HOLDING) as other:
        async with opened(holder) as file:
            assert await read_at(file, 0, 9) == DATA[:9]
            reading = asyncio.ensure_future(read_at(file, 5 * CHUNK, 9))
            (talk,) = holder.talks
            await holder.until(lambda: WrongChunk(5) in talk.received)
            await other.dial(shoal.Address("127.0.0.1", talk_port(talk)))
            assert await reading == DATA[5 * CHUNK : 5 * CHUNK + 9]
            assert not talk.is_lost


def talk_port(talk: Talk) -> int:
    """Return the port at which the node of a connection listens."""
    return next(each.port for each in talk.received if isinstance(each, Hello))


async def test_a_cancelled_read_of_blocks_is_cancelled_at_the_peer() -> None:
    async with Mute(HOLDING) as holder, opened(holder) as file:
        reading = asyncio.ensure_future(read_at(file, 5 * CHUNK, 9))
        await holder.until(lambda: bool(holder.held))
        reading.cancel()
        await asyncio.wait([reading])
        again = asyncio.ensure_future(read_at(file, 7 * CHUNK, 9))
        await holder.until(lambda: bool(holder.cancelled))
        (talk, request), *_ = holder.held
        assert holder.cancelled == [request.read]
        holder.held.clear()
        talk.send(Refuse(request.index, "cancelled", request.read))
        await holder.until(lambda: bool(holder.held))
        holder.speak()
        assert await again == DATA[7 * CHUNK : 7 * CHUNK + 9]


async def test_two_readers_of_the_same_blocks_share_the_request() -> None:
    async with Mute(HOLDING) as holder, opened(holder) as file:
        node_reads = [
            asyncio.ensure_future(file.reader.get(place, place + 9))
            for place in (5 * CHUNK, 5 * CHUNK + 20, 5 * CHUNK)
        ]
        await holder.until(lambda: bool(holder.held))
        holder.speak()
        pieces = [b"".join(await each) for each in node_reads]
        places = (5 * CHUNK, 5 * CHUNK + 20, 5 * CHUNK)
        assert pieces == [DATA[place : place + 9] for place in places]
        assert blocks_sent(holder) == [(5, 0)]


async def test_many_readers_at_random_places_get_the_right_bytes() -> None:
    async with Holder(HOLDING) as one, Holder(HOLDING) as two:
        settings = here([one.address, two.address])
        async with shoal.Node(settings, rng=random.Random(1)) as node:

            async def read(seed: int) -> None:
                rng = random.Random(seed)
                async with node.open(HOLDING.link, timeout=20) as file:
                    for _ in range(12):
                        place = rng.randrange(len(DATA))
                        size = rng.choice([1, 1000, BLOCK_SIZE, 300_000, 2_000_000])
                        got = await read_at(file, place, size)
                        assert got == DATA[place : place + size]

            await asyncio.gather(*map(read, range(6)))
    sent = list(chain(blocks_sent(one), blocks_sent(two)))
    # On a busy machine a peer may be late, and then another one is asked, too.
    assert len(sent) <= 1.5 * len(set(sent))
