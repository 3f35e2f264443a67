"""Who is connected with the gateway: not too many, and nobody who says nothing.

aiohttp has a deadline for what comes after the first request on a connection, and
only its latest versions one for the first as well; so that is kept here.
"""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

__all__ = ["HEADER_TIME", "MAX_CONNECTIONS", "Connections"]

MAX_CONNECTIONS = 128  # more are closed at once
HEADER_TIME = 10.0  # seconds to send a request in, and between two of them


class Connections:
    """Let clients in, and leave those who ask for nothing."""

    def __init__(self, header_time: float) -> None:
        """Leave who has not sent a request within `header_time` seconds."""
        self._header_time = header_time
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        self._server: web.Server | None = None

    def begin(self, server: web.Server) -> None:
        """Have `server` talk to whoever connects from now on."""
        self._server = server

    def accept(self) -> asyncio.BaseProtocol:
        """Return what talks to a client that has just connected."""
        assert self._server is not None
        if len(self._server.connections) >= MAX_CONNECTIONS:
            return _Crowded()
        client = self._server()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._header_time, self._leave, client)
        self._silent[client] = timer
        return client

    @property
    def middleware(self) -> Middleware:
        """Return what notes that somebody has asked for something."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            timer = self._silent.pop(request.protocol, None)
            if timer is not None:
                timer.cancel()
            return await handler(request)

        return note

    def close(self) -> None:
        """Let nobody be left any more."""
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()

    def _leave(self, client: web.RequestHandler) -> None:
        self._silent.pop(client, None)
        if client.transport is not None:
            client.transport.abort()


class _Crowded(asyncio.Protocol):
    """Hang up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
