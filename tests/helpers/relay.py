"""Relays between two holders that do not know the id.

`PlainRelay` forwards bytes and keeps a copy. `TlsRelay` forwards the knock, then ends
TLS on one side with its own certificate and starts a new TLS connection on the other
side, which is all that an attacker without the id can do to read the traffic.
"""

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

from shoal.core.crypto.proof import KNOCK_SIZE
from shoal.core.names.address import Address
from shoal.transport.tls.certificate import client_context, make_certificate

__all__ = ["Knocked", "PlainRelay", "TlsRelay"]

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

    async def streams(
        self, sock: socket.socket, tls: ssl.SSLContext | None = None
    ) -> Streams:
        """Return the streams of an accepted socket."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, sock, ssl=tls
        )
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

    async def meet(self, knock: bytes, accepted: socket.socket) -> None:
        ours = await asyncio.open_connection(*self.target)
        self._writers.append(ours[1])
        ours[1].write(knock)
        self.to_server += knock
        await self._between(await self.streams(accepted), ours)

    async def _between(self, client: Streams, server: Streams) -> None:
        await asyncio.gather(
            self._pass(client[0], server[1], self.to_server),
            self._pass(server[0], client[1], self.to_client),
        )

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        copy: bytearray,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                copy += data
                writer.write(data)
                await writer.drain()
        writer.close()


class TlsRelay(PlainRelay):
    """Read the traffic inside TLS; `to_server` and `to_client` are its plain bytes."""

    async def meet(self, knock: bytes, accepted: socket.socket) -> None:
        ours = await asyncio.open_connection(*self.target)
        self._writers.append(ours[1])
        ours[1].write(knock)
        await ours[1].start_tls(client_context(), server_hostname="")
        tls = make_certificate().context
        await self._between(await self.streams(accepted, tls), ours)
