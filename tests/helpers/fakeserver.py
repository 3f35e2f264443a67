"""An honest server of an open channel, which records requests; subclasses misbehave.

It encodes messages with `tests.helpers.wire`, not with the code under test.
`Background` runs one in a thread for a test that waits for programs.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from shoal.core.names.address import Address
from tests.helpers.wire import Content, frame, read_frame

__all__ = ["Background", "FakeServer", "GreetsLate", "NodeServer"]

T = TypeVar("T")


class FakeServer:
    """Serve a hash channel honestly, and record the requests."""

    def __init__(self, content: Content, *, named: bool = False) -> None:
        self.content = content
        self.requests: list[int] = []
        """Requested indexes in order."""
        self.connections = 0
        """The number of connections so far."""
        self.changed = asyncio.Condition()
        """Notified at each connection and request."""
        self.address = Address("", 0)
        """The address that it listens at."""
        self._named = named
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # Subclasses that misbehave override these.

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        """Send the handshake."""
        if not self._named:
            writer.write(frame(self.content.handshake()))

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        """Answer a request."""
        data = self.content.chunk(index)
        writer.write(frame({"type": "response", "index": index, "data": data}))

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send the handshake, then answer requests until the client leaves."""
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

    # Running the server.

    async def note(self) -> None:
        """Check the conditions of waiting tests."""
        async with self.changed:
            self.changed.notify_all()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a connection or request makes `condition` true."""
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
        host, port = self._server.sockets[0].getsockname()
        self.address = Address(host, port)

    async def aclose(self) -> None:
        """Stop listening and close every connection."""
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


class NodeServer(FakeServer):
    """Serve a named channel and ignore other messages, like the workshop's server."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        return


class GreetsLate(FakeServer):
    """An honest server that sends its handshake when `released` is set."""

    def __init__(self, content: Content) -> None:
        super().__init__(content)
        self.released = asyncio.Event()

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        await self.released.wait()
        await super().greet(writer)


class Background:
    """Run a server on an event loop in a thread, for a blocking test."""

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
        """Wait until a connection or request makes `condition` true."""
        asyncio.run_coroutine_threadsafe(
            self.server.wait_until(condition), self._loop
        ).result(30)

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __exit__(self, *_: object) -> None:
        self._await(self.server.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
