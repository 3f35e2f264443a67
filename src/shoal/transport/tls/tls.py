"""TLS over a connection: a protocol for the transport below, itself a transport.

`TlsConnection` stands between a socket's transport and the protocol that handles the
plain bytes. It needs only `ssl`'s `wrap_bio`, works on any event loop, and exists
because asyncio's own TLS keeps 256 KiB per connection, idle or not. Here all
connections of a thread receive into one buffer, whose bytes are decrypted straight
into the upper protocol's buffer before any other code runs, and outgoing data is
encrypted batch by batch as the socket accepts it.

It owns the transport below. It does not identify the peer; the upper protocol does,
and until it hands over to another by `set_protocol`, a server accepts no more than
`STRANGER_LIMIT` bytes from a client.
"""

import asyncio
import ssl
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any, cast

from shoal.errors import PeerError, ProtocolError
from shoal.transport.tls.records import RECORD_SIZE, Data, Records

__all__ = ["STRANGER_LIMIT", "TlsConnection"]

RECEIVE_SIZE = 1024 * 1024  # bytes read from the socket at once; one buffer per thread
HIGH_WATER = 256 * 1024  # bytes waiting at which the upper protocol is paused
# A ClientHello may be longer (RFC 8446 section 4.1.2), but no honest one is.
STRANGER_LIMIT = 16 * 1024  # bytes of TLS from a client before its proof


def _has_ended(transport: asyncio.Transport | None) -> bool:
    return transport is None or transport.is_closing()


class _Scratch(threading.local):
    """Hold one receive buffer per thread, and so per event loop."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVE_SIZE))


_scratch = _Scratch()
_NO_PROTOCOL = asyncio.BufferedProtocol()  # of a connection that has ended


class TlsConnection(asyncio.BufferedProtocol, asyncio.Transport):
    """Encrypt one connection.

    The upper protocol is not called before the handshake is done, except for
    `connection_lost`, which is called even without a `connection_made`.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol: asyncio.BufferedProtocol,
        *,
        is_server: bool,
        preamble: bytes = b"",
    ) -> None:
        """Send `preamble` before the handshake, in one write with its first part."""
        super().__init__()
        self._protocol = protocol
        self._records = Records(context, is_server=is_server)
        self._is_server = is_server
        self._preamble = preamble
        self._allowance: int | None = STRANGER_LIMIT
        self._transport: asyncio.Transport | None = None
        self._backlog: deque[memoryview] = deque()  # not encrypted yet
        self._waiting = 0  # bytes in it
        self._received = 0  # bytes of the last read
        self._limits = (HIGH_WATER // 4, HIGH_WATER)
        self._is_closing = False
        self._is_blocked = False  # the socket's buffer is full
        self._is_paused = False  # the upper protocol is paused
        self._is_reading = True
        self._is_decrypting = False
        self._fault: Exception | None = None

    # Called by the transport below.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        # uvloop's transport is not a subclass, but has the same methods.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        if self._is_closing:
            transport.abort()
            return
        # Data that the socket does not accept waits here, unencrypted and not copied.
        transport.set_write_buffer_limits(high=0)
        # A server sends nothing yet, and OpenSSL allocates 33 KiB when it starts: a
        # client that knocks and then stays silent does not get them.
        if not self._is_server:
            self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the thread's buffer; `buffer_updated` empties it."""
        return _scratch.view

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt the received bytes."""
        self._received = nbytes
        if self._allowance is not None:
            self._allowance -= nbytes
            if self._allowance < 0:
                self._fail(ProtocolError("too many bytes of TLS before a proof"))
        if self._is_closing:
            return
        self._records.overhead.leak(asyncio.get_running_loop().time())
        self._records.receive(_scratch.view[:nbytes])
        if not self._records.is_open:
            self._shake_hands()
        else:
            self._decrypt()
        # The next connection of this thread receives into the same buffer.
        self._records.keep()

    def eof_received(self) -> None:
        """Report the end of the peer's stream; the transport then closes."""
        if self._records.is_open and not self._is_closing:
            self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Stop encrypting: the socket's buffer is full."""
        self._is_blocked = True

    def resume_writing(self) -> None:
        """Encrypt the waiting data."""
        self._is_blocked = False
        self._encrypt()
        if self._is_paused and self._waiting <= self._limits[0]:
            self._is_paused = False
            if not self._is_closing:
                self._protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Report to the upper protocol, even if it never had the connection."""
        self._is_closing = True
        self._transport = None
        self._backlog.clear()
        self._waiting = 0
        # No reference cycle may remain: the memory that OpenSSL holds for a flood's
        # connections would wait for the garbage collector.
        protocol, self._protocol = self._protocol, _NO_PROTOCOL
        protocol.connection_lost(self._fault or error)

    # Called by the protocol above.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return a property of the connection, or of the transport below.

        `ssl_object` is OpenSSL's object, `held_back` the most received bytes that may
        not have been passed on yet, `gathers` whether `writelines` avoids a copy,
        `received` the number of bytes in the last read from the socket.
        """
        if name == "ssl_object":
            return self._records.ssl
        if name == "held_back":
            return RECORD_SIZE
        if name == "gathers":
            return True
        if name == "received":
            return self._received
        if self._transport is None:
            return default
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Pass all further plain bytes to `protocol`; none has been read ahead.

        The peer has proven itself then, and `STRANGER_LIMIT` no longer applies.
        """
        assert isinstance(protocol, asyncio.BufferedProtocol)
        self._protocol = protocol
        self._allowance = None

    def is_closing(self) -> bool:
        """Return True if the connection has ended or is about to."""
        return self._is_closing

    def is_reading(self) -> bool:
        """Return True if plain bytes are passed on."""
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        """Pass nothing on, and read nothing from the socket."""
        self._is_reading = False
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Pass on bytes received earlier, then read from the socket again."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            asyncio.get_running_loop().call_soon(self._continue_reading)

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Pause the protocol above `high` waiting bytes, resume it at `low`."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        self._limits = (high // 4 if low is None else low, high)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for the socket."""
        below = self._transport.get_write_buffer_size() if self._transport else 0
        return self._waiting + below

    def write(self, data: Data) -> None:
        """Send `data`, which must not change until it is sent."""
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """Send several buffers, which must not change until they are sent."""
        if self._is_closing:
            return
        for data in list_of_data:
            if data:
                self._backlog.append(memoryview(data))
                self._waiting += len(data)
                self._records.overhead.on_payload(len(data))
        self._encrypt()
        if self._waiting > self._limits[1] and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """End the connection once all written data is sent."""
        if self._transport is not None and not self._is_closing:
            self._is_closing = True
            self._transport.pause_reading()
            self._encrypt()

    def abort(self) -> None:
        """End the connection at once."""
        self._is_closing = True
        self._backlog.clear()
        self._waiting = 0
        if self._transport is not None:
            self._transport.abort()

    # Both directions.

    def _fail(self, fault: Exception) -> None:
        self._fault = self._fault or fault
        self.abort()

    def _send(self, records: bytes) -> None:
        if records and self._transport is not None:
            self._transport.write(records)

    def _shake_hands(self) -> None:
        try:
            flight = self._records.shake_hands()
        except PeerError as error:
            self._fail(error)
            return
        self._send(self._preamble + flight)
        self._preamble = b""
        if self._records.is_open:
            if not self._is_server:
                self._allowance = None
            self._protocol.connection_made(self)
            self._encrypt()
            self._decrypt()

    def _decrypt(self) -> None:
        """Pass on the payload of all complete records."""
        if self._is_decrypting:
            return  # called by the protocol that this method calls
        self._is_decrypting = True
        records = self._records
        try:
            while self._is_reading and not self._is_closing:
                buffer = self._protocol.get_buffer(-1)
                assert isinstance(buffer, memoryview)
                filled = records.fill(buffer)
                if filled:
                    self._protocol.buffer_updated(filled)
                if records.has_ended:
                    # A peer that ends its stream also stops reading: data that
                    # waits for it would wait without end.
                    self.eof_received()
                    self.abort()
                if filled < len(buffer):
                    break
        except (ssl.SSLError, PeerError) as error:
            self._fail(error)
        finally:
            self._is_decrypting = False
        self._send(records.answers())

    def _continue_reading(self) -> None:
        if self.is_reading():
            self._decrypt()
        if self.is_reading() and self._transport is not None:
            self._transport.resume_reading()

    def _encrypt(self) -> None:
        """Encrypt the waiting data until the socket's buffer is full."""
        if not self._records.is_open:
            return
        below = self._transport
        try:
            # A failed transport is closing, but has not called connection_lost yet.
            while self._backlog and not self._is_blocked and not _has_ended(below):
                records, size = self._records.encrypt(self._backlog)
                self._waiting -= size
                self._send(records)
        except ssl.SSLError as error:
            self._fail(error)
        if self._is_closing and not self._backlog and self._transport is not None:
            self._send(self._records.end())
            # Not within `resume_writing`: asyncio would close the transport twice.
            asyncio.get_running_loop().call_soon(self._transport.close)
