"""What is still arriving is sent as it comes, and nothing that does not verify."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiohttp import web

from shoal.gateway.files import MAX_STREAMS, send
from shoal.gateway.range import ByteRange
from shoal.gateway.server import Gateway
from shoal.storage.chunk_cache import CACHE_SIZE
from tests.helpers.badholders import FlipsABit, SendsZeroes, Silent
from tests.helpers.holder import Holder, Holding, SlowHolder, Talk, make_holding
from tests.helpers.http import get, request, serving

CHUNK = 16_384
COUNT = 64
PROOF = COUNT // 2  # a chunk that no gate holds back
HOLDING = make_holding(COUNT * CHUNK - 5, chunk_size=CHUNK)
DATA = b"".join(HOLDING.chunk(index) for index in range(COUNT))
FILE = "files/0/data"
PATIENCE = 20.0  # seconds


class Gate(Holder):
    """Gives the chunks below a number at once, others when it is raised."""

    def __init__(self, holding: Holding, limit: int) -> None:
        super().__init__(holding)
        self._limit = limit
        self._held: list[tuple[Talk, int]] = []

    def on_ask(self, talk: Talk, index: int) -> None:
        if index < self._limit or index == PROOF:
            talk.give(index)
        else:
            self._held.append((talk, index))

    def step(self) -> None:
        """Give one chunk that waits."""
        talk, index = self._held.pop(0)
        talk.give(index)

    def open(self) -> None:
        """Give everything from now on."""
        held, self._held = self._held, []
        self._limit = COUNT
        for talk, index in held:
            talk.give(index)


@asynccontextmanager
async def reading(
    gateway: Gateway, *lines: bytes
) -> AsyncIterator[asyncio.StreamReader]:
    """Ask for the file and read the headers; hang up at the end of the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(request(gateway, FILE, *lines))
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
            yield reader
    finally:
        writer.transport.abort()


async def test_what_is_here_is_sent_while_the_rest_arrives() -> None:
    async with Gate(HOLDING, 3) as holder, serving(holder) as gateway:
        async with reading(gateway) as reader:
            assert await reader.readexactly(3 * CHUNK) == DATA[: 3 * CHUNK]
            holder.open()
            assert await reader.readexactly(len(DATA) - 3 * CHUNK) == DATA[3 * CHUNK :]
    assert sorted(holder.given) == list(range(COUNT))


async def prove(gateway: Gateway) -> None:
    """Have a chunk that verifies, so that its holder is asked for more than one."""
    first = PROOF * CHUNK
    got = await get(gateway, FILE, "-r", f"{first}-{first + CHUNK - 1}")
    assert got.body == DATA[first : first + CHUNK]


async def test_where_a_reader_is_comes_before_what_others_read_ahead() -> None:
    async with Gate(HOLDING, 0) as holder, serving(holder) as gateway:
        await prove(gateway)
        async with reading(gateway):
            await holder.until(lambda: len(holder.asked) >= 5)
            async with reading(gateway, b"Range: bytes=-9") as reader:
                await get(gateway, FILE, "-I")  # by then it has been heard
                before = len(holder.asked)
                holder.step()
                await holder.until(lambda: len(holder.asked) > before)
                assert holder.asked[before] == COUNT - 1
                holder.open()
                assert await reader.readexactly(9) == DATA[-9:]


async def test_a_player_that_seeks_fetches_little_and_nothing_twice() -> None:
    places = [0, 40 * CHUNK + 7, 10 * CHUNK, 40 * CHUNK + 7, 0]
    async with Holder(HOLDING) as holder, serving(holder) as gateway:
        for place in places:
            # As a player does: to the end, but it stops when it has enough.
            line = b"Range: bytes=%d-" % place
            async with reading(gateway, line) as reader:
                got = await reader.readexactly(CHUNK)
                assert got == DATA[place : place + CHUNK]
        given = list(holder.given)
    assert len(given) == len(set(given))


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (b"Range: bytes=0-", [0]),
        (b"Range: bytes=0-1048570", [0]),
        (b"Range: bytes=0-65535", [0, 1, 2, 3]),
        (b"X: y", [0, 1, 2, 3, 4]),
    ],
)
async def test_who_may_stop_anywhere_has_nothing_fetched_ahead_at_first(
    line: bytes, asked: list[int]
) -> None:
    async with Gate(HOLDING, 0) as holder, serving(holder) as gateway:
        await prove(gateway)
        async with reading(gateway, line):
            await holder.until(lambda: len(holder.asked) == 1 + len(asked))
            await get(gateway, FILE, "-I")  # time for it to ask for more
            assert holder.asked[1:] == asked


async def test_a_client_that_goes_away_ends_what_it_wanted() -> None:
    async with Gate(HOLDING, 2) as holder, serving(holder) as gateway:
        async with reading(gateway) as reader:
            await reader.readexactly(2 * CHUNK)
            await holder.until(lambda: len(holder.asked) > 2)
        await get(gateway, FILE, "-I")  # by then it has been noticed
        wanted = list(holder.asked)
        holder.open()
        last = await get(gateway, FILE, "-r", f"{(COUNT - 1) * CHUNK}-")
        assert last.body == DATA[(COUNT - 1) * CHUNK :]
        assert holder.asked == [*wanted, COUNT - 1]
    assert len(wanted) < COUNT // 2


@pytest.mark.parametrize("liar", [FlipsABit, SendsZeroes])
async def test_bytes_that_do_not_verify_end_the_connection(liar: type[Holder]) -> None:
    class TurnsBad(liar):  # type: ignore[misc,valid-type]
        """Honest for a while."""

        def on_ask(self, talk: Talk, index: int) -> None:
            if index < 5:
                talk.give(index)
            else:
                super().on_ask(talk, index)

    problems: list[str] = []
    async with TurnsBad(HOLDING) as holder:
        tell = problems.append
        async with serving(holder, timeout=1.0, on_problem=tell) as gateway:
            answer = await get(gateway, FILE)
    # 18: fewer bytes than were promised.
    assert (answer.code, answer.status) == (18, 200)
    assert answer.headers["content-length"] == str(len(DATA))
    assert 0 < len(answer.body) <= 5 * CHUNK
    assert DATA.startswith(answer.body)
    assert len(problems) == 1
    assert "data was not sent" in problems[0]


@pytest.mark.parametrize("words", [(), ("-r", "100-")])
async def test_where_there_are_only_liars_not_one_byte_is_sent(
    words: tuple[str, ...],
) -> None:
    async with FlipsABit(HOLDING) as liar, serving(liar, timeout=0.5) as gateway:
        answer = await get(gateway, FILE, *words)
    assert (answer.code, answer.body) == (18, b"")


async def test_a_read_that_nobody_answers_ends_and_a_later_one_does_better() -> None:
    async with Gate(HOLDING, 4) as holder, serving(holder, timeout=0.5) as gateway:
        answer = await get(gateway, FILE)
        assert (answer.code, answer.body) == (18, DATA[: 4 * CHUNK])
        holder.open()
        answer = await get(gateway, FILE, "-r", f"{4 * CHUNK}-")
        assert (answer.code, answer.body) == (0, DATA[4 * CHUNK :])


async def test_who_reads_slowly_is_waited_for_and_costs_little_memory() -> None:
    count = 2 * CACHE_SIZE // (1 << 20)
    large = make_holding(bytes(count << 20), chunk_size=1 << 20)
    async with Holder(large) as holder, serving(holder) as gateway:
        async with reading(gateway) as reader:
            # What is not read is not fetched: the sockets are full, then it waits.
            await holder.until(lambda: len(holder.given) >= 16)
            await asyncio.sleep(0.2)
            assert len(holder.given) <= 40
            tracemalloc.start()
            got = 0
            while got < count << 20:
                got += len(await reader.read(1 << 20))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < CACHE_SIZE + (24 << 20)
        assert sorted(holder.given) == list(range(count))


class Stuck:
    """A request and its response: a client that takes nothing, and can be left."""

    def __init__(self) -> None:
        self.transport = self
        self.is_left = False

    async def write(self, data: memoryview) -> None:
        await asyncio.Event().wait()

    def abort(self) -> None:
        self.is_left = True


async def test_who_takes_nothing_for_long_is_left() -> None:
    client = Stuck()
    async with Holder(HOLDING) as holder, serving(holder) as gateway:
        async with gateway.shares[0].open("data") as file:
            request, response = cast(web.Request, client), cast(web.Response, client)
            await send(request, response, file, ByteRange(0, file.size), stall_time=0.1)
    assert client.is_left


async def test_only_so_many_files_are_sent_at_once() -> None:
    async with Gate(HOLDING, 0) as holder, serving(holder) as gateway:
        async with asyncio.TaskGroup() as tasks:
            closing = asyncio.Event()
            ready = asyncio.Semaphore(0)

            async def hold() -> None:
                async with reading(gateway):
                    ready.release()
                    await closing.wait()

            for _ in range(MAX_STREAMS):
                tasks.create_task(hold())
            for _ in range(MAX_STREAMS):
                await ready.acquire()
            answer = await get(gateway, FILE)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert (await get(gateway, FILE, "-I")).status == 200
            closing.set()
        holder.open()
        async with asyncio.timeout(PATIENCE):
            while (await get(gateway, FILE)).status != 200:
                pass  # it takes a moment to see that they have gone


async def test_the_end_of_the_gateway_ends_what_is_being_sent() -> None:
    async with Silent(HOLDING) as holder:
        async with serving(holder) as gateway:
            stack = reading(gateway)
            reader = await stack.__aenter__()
        assert await reader.read() == b""
        await stack.__aexit__(None, None, None)


async def test_slow_peers_make_a_slow_stream_and_the_right_one() -> None:
    async with SlowHolder(HOLDING, 200) as slow, Holder(HOLDING) as fast:
        async with serving(slow, fast) as gateway:
            answers = await asyncio.gather(*(get(gateway, FILE) for _ in range(4)))
    assert {(answer.code, answer.body) for answer in answers} == {(0, DATA)}
    assert len(slow.given) + len(fast.given) <= COUNT + 8
