"""The one UDP socket of the DHT client: opened when needed, again when lost."""

import asyncio
from collections.abc import Callable

from shoal.core.names.address import Address

__all__ = ["Endpoint"]


class Endpoint:
    """Send and receive datagrams from one local address.

    `handle` is called with each datagram and where it came from.
    """

    def __init__(self, bind: str, handle: Callable[[bytes, Address], None]) -> None:
        self._bind = bind
        self._handle = handle
        self._opening = asyncio.Lock()
        self._socket: _Socket | None = None

    @property
    def send_error(self) -> OSError | None:
        """Return why the system refused to send since `open`, None if it did not."""
        return self._socket.send_error if self._socket else None

    async def open(self) -> None:
        """Open the socket unless it is open.

        Raises OSError when the local address cannot be used.
        """
        async with self._opening:
            if self._socket is None or self._socket.is_gone.is_set():
                loop = asyncio.get_running_loop()
                _, self._socket = await loop.create_datagram_endpoint(
                    lambda: _Socket(self._handle), local_addr=(self._bind, 0)
                )
            self._socket.send_error = None

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram, or lose it; nothing is awaited and nothing raised."""
        if self._socket is not None and not self._socket.is_gone.is_set():
            self._socket.transport.sendto(data, address)

    async def aclose(self) -> None:
        """Close the socket and wait until it is closed; idempotent."""
        if self._socket is not None:
            self._socket.transport.close()
            await self._socket.is_gone.wait()


class _Socket(asyncio.DatagramProtocol):
    """One life of the socket."""

    transport: asyncio.DatagramTransport

    def __init__(self, handle: Callable[[bytes, Address], None]) -> None:
        self._handle = handle
        self.is_gone = asyncio.Event()
        self.send_error: OSError | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._handle(data, Address(*addr))

    def error_received(self, exc: Exception) -> None:
        # What could not be sent is not answered; the time-out deals with it.
        if isinstance(exc, OSError):
            self.send_error = exc

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone.set()
