"""Servers of an open channel that misbehave, each in one way, and an honest one.

async with FlipsABit(content) as liar, FakeServer(content) as honest:
    fetch(content.id, [liar.address, honest.address])
    assert liar.requests

They speak from `tests.helpers.wire`, not with the code under test. `Background`
runs one beside a test that waits for programs.
"""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from shoal.core.address import Address
from tests.helpers.wire import Content, frame, read_frame, varint

__all__ = [
    "AgreesWithCountOnly",
    "Background",
    "ClosesAfterHandshake",
    "ClosesAtOnce",
    "Drips",
    "EndlessLength",
    "FakeServer",
    "FlipsABit",
    "NeverAnswers",
    "NeverGreets",
    "SendsAnother",
    "SendsShort",
    "SendsUnsolicited",
    "SendsZeroes",
    "SizesDisagree",
    "StopsHalfway",
    "WrongHashes",
]


class FakeServer:
    """Serve a hash channel honestly, and remember what was asked."""

    def __init__(self, content: Content, *, named: bool = False) -> None:
        self.content = content
        self.requests: list[int] = []
        """Indexes asked for, in order."""
        self.connections = 0
        """How many there ever were."""
        self.changed = asyncio.Condition()
        """Notified at each connection and request."""
        self._named = named
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> Address:
        """Return where it listens."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return Address(host, port)

    # What the misbehaving ones change.

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        """Say the first thing."""
        if not self._named:
            writer.write(frame(self.content.handshake()))

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        """Answer a request."""
        data = self.content.chunk(index)
        writer.write(frame({"type": "response", "index": index, "data": data}))

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Greet, then answer until the other side has gone."""
        await self.greet(writer)
        while True:
            message = await read_frame(reader)
            if message["type"] == "request":
                self.requests.append(message["index"])
                await self.note()
                await self.answer(message["index"], writer)
                await writer.drain()
            elif message["type"] == "info" and self._named:
                size, chunk_size = len(self.content.data), self.content.chunk_size
                writer.write(
                    frame({"type": "info", "fileSize": size, "chunkSize": chunk_size})
                )

    # The machinery.

    async def note(self) -> None:
        """Wake whoever waits for something to happen here."""
        async with self.changed:
            self.changed.notify_all()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a connection or request that makes `condition` true."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(condition)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._run(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            await self.note()
            await self.converse(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def aclose(self) -> None:
        """End every connection."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class FlipsABit(FakeServer):
    """Change one bit of every chunk."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = bytearray(self.content.chunk(index))
        data[len(data) // 2] ^= 0x10
        writer.write(frame({"type": "response", "index": index, "data": bytes(data)}))


class SendsAnother(FakeServer):
    """Send the valid bytes of another chunk."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk((index + 1) % self.content.count)
        writer.write(frame({"type": "response", "index": index, "data": data}))


class SendsShort(FakeServer):
    """Leave out the last byte of every chunk."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk(index)[:-1]
        writer.write(frame({"type": "response", "index": index, "data": data}))


class SendsZeroes(FakeServer):
    """Send zeroes of the right length."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = bytes(len(self.content.chunk(index)))
        writer.write(frame({"type": "response", "index": index, "data": data}))


class WrongHashes(FakeServer):
    """Greet with hashes that do not give the channel's id."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        hashes = ["0" * 64, *self.content.hashes[1:]]
        writer.write(frame(self.content.handshake(hashes=hashes)))


class SizesDisagree(FakeServer):
    """Greet with one chunk more than there are hashes."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        size = (self.content.count + 1) * self.content.chunk_size
        writer.write(frame(self.content.handshake(fileSize=size)))


class AgreesWithCountOnly(FakeServer):
    """Greet with sizes that fit the number of hashes, and are wrong.

    `changes` are the sizes; `chunks_from` is asked for the answers.
    """

    def __init__(
        self,
        content: Content,
        changes: dict[str, Any],
        answers: type[FakeServer] = FakeServer,
    ) -> None:
        super().__init__(content)
        self._changes = changes
        self._answers = answers

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(self.content.handshake(**self._changes)))

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        await self._answers.answer(self, index, writer)


class StopsHalfway(FakeServer):
    """Answer some requests and then none, while the connection stands."""

    def __init__(self, content: Content, answers: int) -> None:
        super().__init__(content)
        self._left = answers

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        if self._left > 0:
            self._left -= 1
            await super().answer(index, writer)


class NeverAnswers(StopsHalfway):
    """Greet and then say nothing."""

    def __init__(self, content: Content) -> None:
        super().__init__(content, 0)


class Drips(FakeServer):
    """Send a byte of an answer twice a second: never silent, never done."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk(index)
        whole = frame({"type": "response", "index": index, "data": data})
        for position in range(len(whole)):
            writer.write(whole[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0.5)


class ClosesAtOnce(FakeServer):
    """Accept and close."""

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        return


class ClosesAfterHandshake(FakeServer):
    """Greet, wait for a request, and close."""

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self.greet(writer)
        await read_frame(reader)


class SendsUnsolicited(FakeServer):
    """Answer with a chunk that nobody asked for."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk(index)
        writer.write(
            frame({"type": "response", "index": self.content.count + 9, "data": data})
        )


class EndlessLength(FakeServer):
    """Begin with a length that never ends."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff" * 4096)


class NeverGreets(FakeServer):
    """Say nothing at all, and announce a handshake that does not come."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        writer.write(varint(60 * 1024 * 1024))


class Background:
    """Run a server in a loop and a thread of its own, for a blocking test."""

    def __init__(self, make: Callable[[], FakeServer]) -> None:
        self._make = make
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FakeServer:
        self._thread.start()
        self.server = self._await(self._start())
        return self.server

    async def _start(self) -> FakeServer:
        server = self._make()
        await server.start()
        return server

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a connection or request that makes `condition` true."""
        asyncio.run_coroutine_threadsafe(
            self.server.wait_until(condition), self._loop
        ).result(30)

    def _await(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._await(self.server.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
