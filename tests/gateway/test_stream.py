"""A file is sent while its chunks arrive, each after it is verified."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiohttp import web

from shoal.gateway import sending
from shoal.gateway.range import ByteRange
from shoal.gateway.sending import MAX_STREAMS, read_blocks, send
from shoal.gateway.server import Gateway
from shoal.storage.chunk_cache import CACHE_SIZE
from tests.helpers.badholders import FlipsABit, SendsZeroes, Silent
from tests.helpers.gateway import get, request, serving
from tests.helpers.holder import Holder, Holding, SlowHolder, Talk, make_holding

CHUNK = 16_384
COUNT = 64
PROOF = COUNT // 2  # a chunk that no gate holds back
HOLDING = make_holding(COUNT * CHUNK - 5, chunk_size=CHUNK)
DATA = b"".join(HOLDING.chunk(index) for index in range(COUNT))
FILE = "files/0/data"
PATIENCE = 20.0  # seconds


class Gate(Holder):
    """Serve the chunks below a limit at once, and the others when told to."""

    def __init__(self, holding: Holding, limit: int) -> None:
        super().__init__(holding)
        self._limit = limit
        self._held: list[tuple[Talk, int]] = []

    def on_request(self, talk: Talk, index: int) -> None:
        if index < self._limit or index == PROOF:
            talk.send_chunk(index)
        else:
            self._held.append((talk, index))

    def step(self) -> None:
        """Serve one held request."""
        talk, index = self._held.pop(0)
        talk.send_chunk(index)

    def open(self) -> None:
        """Serve all held and future requests."""
        held, self._held = self._held, []
        self._limit = COUNT
        for talk, index in held:
            talk.send_chunk(index)


@asynccontextmanager
async def asking(
    gateway: Gateway, *lines: bytes
) -> AsyncIterator[asyncio.StreamReader]:
    """Request the file; disconnect at the end of the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(request(gateway, FILE, *lines))
        async with asyncio.timeout(PATIENCE):
            yield reader
    finally:
        writer.transport.abort()


@asynccontextmanager
async def reading(
    gateway: Gateway, *lines: bytes
) -> AsyncIterator[asyncio.StreamReader]:
    """Request the file and read the headers; disconnect at the end of the block."""
    async with asking(gateway, *lines) as reader:
        await reader.readuntil(b"\r\n\r\n")
        yield reader


async def test_verified_chunks_are_sent_while_the_rest_arrives() -> None:
    async with Gate(HOLDING, 3) as holder, serving(holder) as gateway:
        async with reading(gateway) as reader:
            assert await reader.readexactly(3 * CHUNK) == DATA[: 3 * CHUNK]
            holder.open()
            assert await reader.readexactly(len(DATA) - 3 * CHUNK) == DATA[3 * CHUNK :]
    assert sorted(holder.sent) == list(range(COUNT))


async def prove(gateway: Gateway) -> None:
    """Fetch one valid chunk, after which its holder gets several requests at a time."""
    first = PROOF * CHUNK
    got = await get(gateway, FILE, "-r", f"{first}-{first + CHUNK - 1}")
    assert got.body == DATA[first : first + CHUNK]


async def test_a_readers_position_is_fetched_before_what_others_prefetch() -> None:
    async with Gate(HOLDING, 0) as holder, serving(holder) as gateway:
        await prove(gateway)
        async with asking(gateway):
            await holder.until(lambda: len(holder.requested) >= 5)
            async with asking(gateway, b"Range: bytes=-9") as reader:
                await get(gateway, FILE, "-I")  # by then the holder has the requests
                before = len(holder.requested)
                holder.step()
                await holder.until(lambda: len(holder.requested) > before)
                assert holder.requested[before] == COUNT - 1
                holder.open()
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(9) == DATA[-9:]


async def test_a_seeking_player_fetches_no_chunk_twice() -> None:
    positions = [0, 40 * CHUNK + 7, 10 * CHUNK, 40 * CHUNK + 7, 0]
    async with Holder(HOLDING) as holder, serving(holder) as gateway:
        for position in positions:
            # A player requests up to the end and stops when it has enough.
            line = b"Range: bytes=%d-" % position
            async with reading(gateway, line) as reader:
                got = await reader.readexactly(CHUNK)
                assert got == DATA[position : position + CHUNK]
        given = list(holder.sent)
    assert len(given) == len(set(given))


@pytest.mark.parametrize(
    ("line", "requested"),
    [
        (b"Range: bytes=0-", [0]),
        (b"Range: bytes=0-1048570", [0]),
        (b"Range: bytes=0-65535", [0, 1, 2, 3]),
        (b"X: y", [0, 1, 2, 3, 4]),
    ],
)
async def test_an_open_ended_range_prefetches_nothing_at_first(
    line: bytes, requested: list[int]
) -> None:
    async with Gate(HOLDING, 0) as holder, serving(holder) as gateway:
        await prove(gateway)
        async with asking(gateway, line):
            await holder.until(lambda: len(holder.requested) == 1 + len(requested))
            await get(gateway, FILE, "-I")  # time for more requests to arrive
            assert holder.requested[1:] == requested


async def test_a_client_that_disconnects_stops_its_fetches() -> None:
    async with Gate(HOLDING, 2) as holder, serving(holder) as gateway:
        async with reading(gateway) as reader:
            await reader.readexactly(2 * CHUNK)
            await holder.until(lambda: len(holder.requested) > 2)
        await get(gateway, FILE, "-I")  # by then the gateway has noticed
        requested = list(holder.requested)
        holder.open()
        last = await get(gateway, FILE, "-r", f"{(COUNT - 1) * CHUNK}-")
        assert last.body == DATA[(COUNT - 1) * CHUNK :]
        assert holder.requested == [*requested, COUNT - 1]
    assert len(requested) < COUNT // 2


@pytest.mark.parametrize("liar", [FlipsABit, SendsZeroes])
async def test_bytes_that_do_not_verify_end_the_connection(liar: type[Holder]) -> None:
    class TurnsBad(liar):  # type: ignore[misc,valid-type]
        """Serve five honest chunks first."""

        def on_request(self, talk: Talk, index: int) -> None:
            if index < 5:
                talk.send_chunk(index)
            else:
                super().on_request(talk, index)

    problems: list[str] = []
    async with TurnsBad(HOLDING) as holder:
        on_problem = problems.append
        async with serving(holder, timeout=1.0, on_problem=on_problem) as gateway:
            answer = await get(gateway, FILE)
    # 18: curl got fewer bytes than announced.
    assert (answer.code, answer.status) == (18, 200)
    assert answer.headers["content-length"] == str(len(DATA))
    assert 0 < len(answer.body) <= 5 * CHUNK
    assert DATA.startswith(answer.body)
    assert len(problems) == 1
    assert "data was not sent" in problems[0]


@pytest.mark.parametrize("words", [(), ("-r", "100-")])
async def test_the_status_says_that_every_peer_sends_wrong_chunks(
    words: tuple[str, ...],
) -> None:
    async with FlipsABit(HOLDING) as liar, serving(liar, timeout=0.5) as gateway:
        answer = await get(gateway, FILE, *words)
    assert (answer.code, answer.status) == (0, 502)
    assert b"does not match the id" in answer.body


@pytest.mark.parametrize("words", [(), ("-r", "100-"), ("-r", "-5")])
async def test_the_status_says_that_no_peer_sends_the_first_bytes(
    words: tuple[str, ...],
) -> None:
    problems: list[str] = []
    async with Silent(HOLDING) as holder:
        on_problem = problems.append
        async with serving(holder, timeout=0.3, on_problem=on_problem) as gateway:
            answer = await get(gateway, FILE, *words)
            head = await get(gateway, FILE, "-I")
    assert (answer.code, answer.status) == (0, 504)
    assert answer.headers["retry-after"] == "5"
    assert "content-range" not in answer.headers
    assert b"0.3 s" in answer.body
    assert len(problems) == 1
    assert head.status == 200  # without bytes there is nothing to wait for


async def test_a_read_that_times_out_can_be_repeated_later() -> None:
    async with Gate(HOLDING, 4) as holder, serving(holder, timeout=0.5) as gateway:
        answer = await get(gateway, FILE)
        assert (answer.code, answer.body) == (18, DATA[: 4 * CHUNK])
        holder.open()
        answer = await get(gateway, FILE, "-r", f"{4 * CHUNK}-")
        assert (answer.code, answer.body) == (0, DATA[4 * CHUNK :])


async def test_a_slow_client_is_waited_for_and_needs_little_memory() -> None:
    count = 2 * CACHE_SIZE // (1 << 20)
    large = make_holding(bytes(count << 20), chunk_size=1 << 20)
    async with Holder(large) as holder, serving(holder) as gateway:
        async with reading(gateway) as reader:
            # Once the sockets are full, nothing more is fetched until the client reads.
            await holder.until(lambda: len(holder.sent) >= 16)
            await asyncio.sleep(0.2)
            assert len(holder.sent) <= 40
            tracemalloc.start()
            got = 0
            while got < count << 20:
                got += len(await reader.read(1 << 20))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < CACHE_SIZE + (24 << 20)
        # The first chunk arrives in blocks: the client waits for its first byte.
        assert sorted(holder.sent) == list(range(1, count))
        assert {run.index for run in holder.sent_blocks} == {0}


class Stuck:
    """Stand in for the request and response of a client that reads nothing."""

    def __init__(self) -> None:
        self.transport = self
        self.prepared = True
        self.is_aborted = False

    async def write(self, data: memoryview) -> None:
        await asyncio.Event().wait()

    def abort(self) -> None:
        self.is_aborted = True


async def test_a_client_that_reads_nothing_is_disconnected() -> None:
    client = Stuck()
    async with Holder(HOLDING) as holder, serving(holder) as gateway:
        async with gateway.shares[0].open("data") as file:
            request, response = cast(web.Request, client), cast(web.Response, client)
            blocks = read_blocks(file, ByteRange(0, file.size))
            await send(request, response, blocks, stall_time=0.1)
    assert client.is_aborted


async def test_more_requests_than_places_wait_for_a_place() -> None:
    async with Gate(HOLDING, 0) as holder, serving(holder) as gateway:
        async with asyncio.TaskGroup() as tasks:
            closing = asyncio.Event()
            ready = asyncio.Semaphore(0)

            async def hold() -> None:
                async with asking(gateway):
                    ready.release()
                    await closing.wait()

            for _ in range(MAX_STREAMS):
                tasks.create_task(hold())
            for _ in range(MAX_STREAMS):
                await ready.acquire()
            waiting = [tasks.create_task(get(gateway, FILE)) for _ in range(9)]
            # A response without a body needs no place.
            assert (await get(gateway, FILE, "-I")).status == 200
            assert not any(each.done() for each in waiting)
            holder.open()
            closing.set()
            for each in waiting:
                answer = await each
                assert (answer.status, len(answer.body)) == (200, COUNT * CHUNK - 5)


async def test_a_request_does_not_wait_for_a_place_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "WAIT_TIME", 0.0)
    monkeypatch.setattr(sending, "MAX_STREAMS", 1)
    async with Gate(HOLDING, 0) as holder, serving(holder) as gateway:
        async with asking(gateway):
            await holder.until(lambda: bool(holder.requested))
            answer = await get(gateway, FILE)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_closing_the_gateway_ends_open_responses() -> None:
    async with Gate(HOLDING, 1) as holder:
        async with serving(holder) as gateway:
            stack = reading(gateway)
            reader = await stack.__aenter__()
        assert await reader.read() == DATA[:CHUNK]
        await stack.__aexit__(None, None, None)


async def test_several_clients_get_the_right_bytes_from_slow_and_fast_peers() -> None:
    async with SlowHolder(HOLDING, 200) as slow, Holder(HOLDING) as fast:
        async with serving(slow, fast) as gateway:
            answers = await asyncio.gather(*(get(gateway, FILE) for _ in range(4)))
    assert {(answer.code, answer.body) for answer in answers} == {(0, DATA)}
    assert len(slow.sent) + len(fast.sent) <= COUNT + 8
