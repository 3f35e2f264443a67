"""Serving an open channel to clients of every kind, over real sockets."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shoal.channel.operations import OpenShare
from shoal.core.names.channel_id import Channel
from shoal.core.report.events import Notice
from shoal.node.node import Node
from tests.helpers.fetching import here
from tests.helpers.wire import Content, frame, read_frame

CONTENT = Content.make(10_000)
LAST = CONTENT.count - 1
NAMED = Channel("a name", is_hash=False)


class Client:
    """A client that sends what the workshop's Node.js client sends."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self.writer = writer

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return await read_frame(self._reader)

    async def ask(self, index: object) -> dict[str, Any]:
        self.writer.write(frame({"type": "request", "index": index}))
        return await self.read()

    async def wait_closed(self) -> bytes:
        async with asyncio.timeout(10):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""


class Served(NamedTuple):
    share: OpenShare
    path: Path
    notices: list[Notice]
    noticed: asyncio.Event

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.share.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    tmp_path: Path, content: Content = CONTENT, channel: Channel | None = NAMED
) -> AsyncIterator[Served]:
    path = tmp_path / "file"
    path.write_bytes(content.data)
    notices: list[Notice] = []
    noticed = asyncio.Event()

    def take(notice: Notice) -> None:
        notices.append(notice)
        noticed.set()

    async with Node(here(), on_notice=take) as node:
        share = await node.share_open(path, channel, chunk_size=content.chunk_size)
        yield Served(share, path, notices, noticed)


async def test_a_hash_channel_starts_with_a_handshake(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, channel=None) as served, served.client() as client:
        assert served.share.channel.id == CONTENT.id
        assert await client.read() == CONTENT.handshake()
        assert (await client.ask(0))["data"] == CONTENT.chunk(0)


async def test_a_named_channel_sends_nothing_before_a_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.client() as client:
        assert await client.ask(0) == {
            "type": "response",
            "index": 0,
            "data": CONTENT.chunk(0),
        }


@pytest.mark.parametrize("index", [0, 3, LAST, "0", "3", str(LAST), "003"])
async def test_a_response_repeats_the_index_as_it_was_sent(
    index: int | str, tmp_path: Path
) -> None:
    async with serving(tmp_path) as served, served.client() as client:
        answer = await client.ask(index)
    assert answer["index"] == index
    assert type(answer["index"]) is type(index)
    assert answer["data"] == CONTENT.chunk(int(index))


@pytest.mark.parametrize(
    "index", [LAST + 1, 1 << 63, -1, "", "x", "-1", " 1", "1_0", "٣", "9" * 11]
)
async def test_an_invalid_index_is_ignored_and_the_connection_stays_open(
    index: object, tmp_path: Path
) -> None:
    async with serving(tmp_path) as served, served.client() as client:
        client.writer.write(frame({"type": "request", "index": index}))
        assert (await client.ask(1))["index"] == 1


@pytest.mark.parametrize(
    "message",
    [{"type": "have", "indexes": [1, 2]}, {"type": "x", "index": None}],
)
async def test_messages_of_other_types_are_ignored(
    message: dict[str, Any], tmp_path: Path
) -> None:
    async with serving(tmp_path) as served, served.client() as client:
        client.writer.write(frame(message))
        assert (await client.ask(1))["index"] == 1


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x00", id="empty frame"),
        pytest.param(b"\xff\xff\xff\xff\x7f", id="length of five bytes"),
        pytest.param(b"\x81\x80\x08", id="one byte too long"),
        pytest.param(b"\x81\x00", id="length not in shortest form"),
        pytest.param(b"\x01\xc1", id="no msgpack"),
        pytest.param(frame({"type": "request", "index": True}), id="boolean"),
        pytest.param(frame({"type": "request", "index": 1.0}), id="float"),
        pytest.param(
            frame({"type": "response", "index": 0, "data": b""}), id="a response"
        ),
        pytest.param(frame({"type": "handshake", "hashes": []}), id="a handshake"),
    ],
)
async def test_only_a_client_that_breaks_the_protocol_is_disconnected(
    raw: bytes, tmp_path: Path
) -> None:
    async with serving(tmp_path) as served:
        async with served.client() as good, served.client() as bad:
            await good.ask(0)
            bad.writer.write(raw)
            assert await bad.wait_closed() == b""
            assert (await good.ask(1))["index"] == 1


async def test_pipelined_requests_are_answered_in_order(
    tmp_path: Path,
) -> None:
    wanted = random.Random(1).choices(range(CONTENT.count), k=5000)
    async with serving(tmp_path) as served, served.client() as client:
        requests = [frame({"type": "request", "index": i}) for i in wanted]
        client.writer.write(b"".join(requests))
        answers = [await client.read() for _ in wanted]
    assert [answer["index"] for answer in answers] == wanted
    assert all(a["data"] == CONTENT.chunk(a["index"]) for a in answers)


async def test_a_frame_may_arrive_byte_by_byte(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.client() as client:
        for byte in frame({"type": "request", "index": 7}):
            client.writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await client.read())["data"] == CONTENT.chunk(7)


async def test_a_client_that_never_reads_does_not_delay_others(tmp_path: Path) -> None:
    content = Content.make(1 << 20, 1 << 16)
    async with serving(tmp_path, content) as served:
        async with served.client() as greedy, served.client() as other:
            flood = frame({"type": "request", "index": 0}) * 10_000
            for _ in range(10):
                greedy.writer.write(flood)
            assert (await other.ask(3))["data"] == content.chunk(3)


async def test_large_chunks_arrive_whole(tmp_path: Path) -> None:
    content = Content.make(9 << 20, 4 << 20)
    async with serving(tmp_path, content) as served, served.client() as client:
        for index in range(content.count):
            assert (await client.ask(index))["data"] == content.chunk(index)


async def _truncate(path: Path) -> None:
    os.truncate(path, 100)


async def _edit(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"not what it was")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [_truncate, _edit])
@pytest.mark.parametrize("channel", [None, NAMED], ids=["hash", "named"])
async def test_no_chunk_of_a_changed_file_is_sent(
    change: Any, channel: Channel | None, tmp_path: Path
) -> None:
    async with serving(tmp_path, channel=channel) as served, served.client() as client:
        if channel is None:
            await client.read()
        assert (await client.ask(0))["data"] == CONTENT.chunk(0)
        await change(served.path)
        client.writer.write(frame({"type": "request", "index": 4}))
        assert await client.wait_closed() == b""
        await served.noticed.wait()
        assert "file" in served.notices[0].text
        assert len(served.notices) == 1


async def test_a_deleted_file_is_served_correctly_or_refused(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served, served.client() as client:
        served.path.unlink()
        client.writer.write(frame({"type": "request", "index": 2}))
        try:
            assert (await client.read())["data"] == CONTENT.chunk(2)
        except (EOFError, ConnectionError):
            await served.noticed.wait()


async def test_a_disconnected_client_is_forgotten(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        async with served.client() as client:
            await client.ask(0)
            assert len(served.share.uploads) == 1
        # When the second client is answered, the server has seen the first disconnect.
        async with served.client() as client:
            await client.ask(0)
            assert len(served.share.uploads) == 1
