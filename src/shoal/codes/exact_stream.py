"""Read messages of known sizes from a connection, and nothing beyond them."""

import asyncio
from typing import cast

from shoal.errors import PeerError, ProtocolError

__all__ = ["ExactStream"]


class ExactStream(asyncio.BufferedProtocol):
    """Wait for so many bytes of a connection; a peer that sends more is cut off."""

    def __init__(self, room: int) -> None:
        """Hold at most `room` bytes that were received and not read yet."""
        # One more, so that there is always room to notice the excess.
        self._buffer = bytearray(room + 1)
        self._filled = 0
        self._is_lost = False
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    async def read(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises `PeerError` if the connection ends before, `ProtocolError` if the peer
        has sent more than there is room for.
        """
        while self._filled < size:
            if self._is_lost:
                raise PeerError("the connection ended too early")
            self._changed.clear()
            await self._changed.wait()
        if self._filled == len(self._buffer):
            raise ProtocolError("more bytes than were expected")
        data = bytes(self._buffer[:size])
        self._buffer[: self._filled - size] = self._buffer[size : self._filled]
        self._filled -= size
        return data

    def write(self, data: bytes) -> None:
        """Send `data`."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """End the connection once everything written is sent; idempotent."""
        if self._transport is not None:
            self._transport.close()

    async def until_closed(self) -> None:
        """Wait until the connection has ended."""
        while not self._is_lost:
            self._changed.clear()
            await self._changed.wait()

    def abort(self) -> None:
        """End the connection at once; idempotent."""
        if self._transport is not None:
            self._transport.abort()

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the room that is left; at least one byte."""
        return memoryview(self._buffer)[min(self._filled, len(self._buffer) - 1) :]

    def buffer_updated(self, nbytes: int) -> None:
        """Note what has arrived."""
        self._filled = min(self._filled + nbytes, len(self._buffer))
        if self._filled == len(self._buffer):
            self.abort()
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Wake up the caller that waits."""
        self._is_lost = True
        self._transport = None
        self._changed.set()
