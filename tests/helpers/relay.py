"""A relay between two holders that does not know the id, and a server like it."""

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

from shoal.core.crypto.knock import KNOCK_SIZE
from shoal.core.names.address import Address

__all__ = ["ExchangingRelay", "Knocked", "PlainRelay"]

PATIENCE = 10.0  # seconds after which a hanging connection is closed

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Knocked:
    """Accept connections and read exactly the knock; subclasses do the rest."""

    def __init__(self) -> None:
        self.address = Address("127.0.0.1", 0)
        """The address that clients should dial."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.address = Address("127.0.0.1", self._listening.getsockname()[1])
        self._run(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for writer in self._writers:
            writer.transport.abort()
        self._listening.close()

    async def meet(self, knock: bytes, accepted: socket.socket) -> None:
        """Continue a connection; the bytes after the knock are not read yet."""
        raise NotImplementedError

    async def streams(self, sock: socket.socket) -> Streams:
        """Return the streams of an accepted socket."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock)
        assert isinstance(transport, asyncio.Transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._writers.append(writer)
        return reader, writer

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(self._listening)
            self._run(self._begin(accepted))

    async def _begin(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    knock = b""
                    while len(knock) < KNOCK_SIZE:
                        size = KNOCK_SIZE - len(knock)
                        more = await loop.sock_recv(accepted, size)
                        if not more:
                            return
                        knock += more
                    await self.meet(knock, accepted)
        finally:
            accepted.close()


class PlainRelay(Knocked):
    """Forward every connection to `target`, and record the bytes."""

    def __init__(self, target: Address) -> None:
        super().__init__()
        self.target = target
        self.to_server = bytearray()
        """All bytes from clients."""
        self.to_client = bytearray()
        """All bytes from the server."""

    def forward(self, data: bytes, *, to_client: bool) -> bytes:
        """Return what to pass on; subclasses change it."""
        return data

    async def meet(self, knock: bytes, accepted: socket.socket) -> None:
        ours = await asyncio.open_connection(*self.target)
        self._writers.append(ours[1])
        ours[1].write(self.forward(knock, to_client=False))
        self.to_server += knock
        await self._between(await self.streams(accepted), ours)

    async def _between(self, client: Streams, server: Streams) -> None:
        await asyncio.gather(
            self._pass(client[0], server[1], to_client=False),
            self._pass(server[0], client[1], to_client=True),
        )

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        to_client: bool,
    ) -> None:
        copy = self.to_client if to_client else self.to_server
        with suppress(OSError):
            while data := await reader.read(65_536):
                copy += data
                writer.write(self.forward(data, to_client=to_client))
                await writer.drain()
        writer.close()


class ExchangingRelay(PlainRelay):
    """Replace one end's public key by its own, as a man in the middle must."""

    def __init__(self, target: Address, key: bytes, *, at_client: bool) -> None:
        """Replace the key that the client receives, or that the server receives."""
        super().__init__(target)
        self._key = key
        self._at_client = at_client

    def forward(self, data: bytes, *, to_client: bool) -> bytes:
        if to_client is self._at_client and len(data) >= KNOCK_SIZE:
            return self._key + data[len(self._key) :]
        return data
