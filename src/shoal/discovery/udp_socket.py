"""One UDP socket on the event loop, for the discoveries that exchange packets."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from shoal.core.names.address import Address
from shoal.net.socket_names import host_of, name_of

__all__ = ["UdpSocket"]


class UdpSocket(asyncio.DatagramProtocol):
    """Send and receive datagrams over one socket, from its opening to its end."""

    def __init__(self, handle: Callable[[bytes, Address], None]) -> None:
        """Pass each datagram and its sender to `handle`."""
        self.send_error: OSError | None = None
        """The system's reason for refusing to send, None if it has not refused."""
        self.closed = asyncio.Event()
        """Set once the socket is closed, by us or by an error."""
        self._handle = handle
        self._transport: asyncio.DatagramTransport

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram; a failure shows in `send_error` and nothing is raised."""
        if self.closed.is_set():
            return
        try:
            self._transport.sendto(data, name_of(*address))
        except OSError as error:  # the interface of a link-local address is gone
            self.send_error = error

    def close(self) -> None:
        """Receive nothing more; `closed` is set once the socket is closed."""
        self._transport.close()

    @property
    def local_port(self) -> int:
        """Return the local port; 0 once the socket is closed."""
        name = self._transport.get_extra_info("sockname")
        return int(name[1]) if name else 0

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Pass a datagram on."""
        self._handle(data, Address(host_of(addr), addr[1]))

    def error_received(self, exc: Exception) -> None:
        """Keep the reason why sending failed."""
        self.send_error = exc if isinstance(exc, OSError) else OSError(str(exc))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the socket is closed."""
        self.closed.set()
