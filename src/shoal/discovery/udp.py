"""Datagrams from any free port, or from one that is shared with QUIC."""

import asyncio
import errno
from collections.abc import Callable

from shoal.core.names.address import Address
from shoal.discovery.udp_socket import UdpSocket
from shoal.transport.datagrams import BatchSocket

__all__ = ["Divert", "UdpClient"]

Divert = Callable[[bytes, int, Address], bool]
"""Take datagrams, each of so many bytes but for the last; False if it leaves them."""


class UdpClient:
    """Send and receive datagrams from one local address on any free port.

    The socket is opened when needed, and again after the system has closed it.
    """

    def __init__(self, bind: str, handle: Callable[[bytes, Address], None]) -> None:
        """Use the local address `bind`; pass each datagram and sender to `handle`."""
        self._bind = bind
        self._handle = handle
        self._opening = asyncio.Lock()
        self._socket: UdpSocket | BatchSocket | None = None
        self._port = 0
        self._divert: Divert | None = None

    @property
    def send_error(self) -> OSError | None:
        """The system's reason for refusing to send since `open`, None if it did not."""
        return self._socket.send_error if self._socket else None

    @property
    def local_port(self) -> int:
        """Return the local port; 0 while no socket is open."""
        return self._socket.local_port if self._socket else 0

    def rebind(self, bind: str) -> None:
        """Use another local address from the next `open` on."""
        self._bind = bind
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def open(self) -> None:
        """Open the socket unless it is open.

        Raises `OSError` if the local address cannot be used.
        """
        async with self._opening:
            if self._socket is None or self._socket.closed.is_set():
                self._socket = await self._make()
            self._socket.send_error = None

    def share(self, port: int, divert: Divert) -> None:
        """Let `divert` have the datagrams that it wants, first.

        The socket has this port from the next `open` on, unless it is taken.
        """
        self._port, self._divert = port, divert
        self.rebind(self._bind)

    def send_many(self, datagrams: list[bytes], address: Address) -> None:
        """Send datagrams, or drop them if the socket is closed or not shared."""
        if isinstance(self._socket, BatchSocket):
            self._socket.send_many(datagrams, address)

    async def _make(self) -> UdpSocket | BatchSocket:
        if self._divert is not None:
            try:
                return BatchSocket(self._bind, self._port, self._on_datagrams)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
            return BatchSocket(self._bind, 0, self._on_datagrams)
        loop = asyncio.get_running_loop()
        _, made = await loop.create_datagram_endpoint(
            lambda: UdpSocket(self._handle), local_addr=(self._bind, 0)
        )
        return made

    def _on_datagrams(self, data: bytes, segment: int, source: Address) -> None:
        if self._divert is None or not self._divert(data, segment, source):
            for begin in range(0, len(data), segment):
                self._handle(data[begin : begin + segment], source)

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram, or drop it if the socket is closed; raises nothing."""
        if self._socket is not None:
            self._socket.send(data, address)

    async def aclose(self) -> None:
        """Close the socket and wait until it is closed; idempotent."""
        if self._socket is not None:
            self._socket.close()
            await self._socket.closed.wait()
