"""TLS over a connection: a protocol for the transport below, a transport above.

`TlsConnection` stands between a socket's transport and the protocol that has the
plain bytes. It needs nothing but `ssl`'s `wrap_bio`, on any event loop, and exists
because asyncio's own layer keeps 256 KiB for each connection, idle or not. Here
every connection of a thread receives into one buffer, whose bytes are decrypted
straight into the memory of the protocol above before anything else can run, and
what is to be sent is encrypted batch by batch as the socket takes it.

It owns the transport below. It believes nobody: whom it talks to is for the
protocol above to find out, and until that hands over to another one by
`set_protocol`, a client may send a server `STRANGER_LIMIT` bytes and no more.
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

RECEIVE_SIZE = 1024 * 1024  # bytes taken from the socket at once; one buffer a thread
HIGH_WATER = 256 * 1024  # bytes waiting at which the protocol above is paused
STRANGER_LIMIT = 16 * 1024  # bytes of TLS from a peer of whom nothing is known


def _has_ended(transport: asyncio.Transport | None) -> bool:
    return transport is None or transport.is_closing()


class _Scratch(threading.local):
    """Give each thread, and so each event loop, one buffer to receive into."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVE_SIZE))


_scratch = _Scratch()
_NOBODY = asyncio.BufferedProtocol()  # has the plain bytes of what has ended


class TlsConnection(asyncio.BufferedProtocol, asyncio.Transport):
    """Encrypt one connection.

    The protocol above hears nothing before the handshake is done, except
    `connection_lost`, which it is told even if it never had a connection.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol: asyncio.BufferedProtocol,
        *,
        is_server: bool,
        preamble: bytes = b"",
    ) -> None:
        """Begin; `preamble` is sent before TLS, in one piece with its beginning."""
        super().__init__()
        self._protocol = protocol
        self._records = Records(context, is_server=is_server)
        self._is_server = is_server
        self._preamble = preamble
        self._allowance: int | None = STRANGER_LIMIT
        self._transport: asyncio.Transport | None = None
        self._backlog: deque[memoryview] = deque()  # not encrypted yet
        self._waiting = 0  # bytes in it
        self._received = 0  # bytes, by the last read
        self._limits = (HIGH_WATER // 4, HIGH_WATER)
        self._is_closing = False
        self._is_blocked = False  # the socket takes no more
        self._is_paused = False  # the protocol above was told so
        self._is_reading = True
        self._is_decrypting = False
        self._fault: Exception | None = None

    # What the transport below calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        # Not of that class where the loop is uvloop's, but all that it has to be.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        if self._is_closing:
            transport.abort()
            return
        # What the socket does not take waits here, as plain text and not copied.
        transport.set_write_buffer_limits(high=0)
        # A server has nothing to say yet, and OpenSSL takes 33 KiB when it begins:
        # who knocks and says no more shall not have those.
        if not self._is_server:
            self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the thread's buffer, which `buffer_updated` empties."""
        return _scratch.view

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt what came."""
        self._received = nbytes
        if self._allowance is not None:
            self._allowance -= nbytes
            if self._allowance < 0:
                self._fail(ProtocolError("too much TLS before it was known who it is"))
        if self._is_closing:
            return
        self._records.overhead.leak(asyncio.get_running_loop().time())
        self._records.receive(_scratch.view[:nbytes])
        if not self._records.is_open:
            self._shake_hands()
        else:
            self._decrypt()
        # Whoever is read next receives into the same buffer.
        self._records.keep()

    def eof_received(self) -> None:
        """Take note that nothing more comes; the transport closes by itself."""
        if self._records.is_open and not self._is_closing:
            self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Stop encrypting: the socket takes no more."""
        self._is_blocked = True

    def resume_writing(self) -> None:
        """Encrypt what waits."""
        self._is_blocked = False
        self._encrypt()
        if self._is_paused and self._waiting <= self._limits[0]:
            self._is_paused = False
            if not self._is_closing:
                self._protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the protocol above, whether or not it had a connection."""
        self._is_closing = True
        self._transport = None
        self._backlog.clear()
        self._waiting = 0
        # Nothing may hold itself in a circle: of a flood, all that OpenSSL has would
        # wait for the garbage collector.
        protocol, self._protocol = self._protocol, _NOBODY
        protocol.connection_lost(self._fault or error)

    # What the protocol above calls.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection.

        `ssl_object` is its TLS, `held_back` how many bytes that were received may
        not have been handed on yet, `gathers` whether `writelines` copies nothing,
        `received` how many bytes of TLS the last look at the socket found.
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
        """Hand all further plain bytes to `protocol`; none was read ahead.

        This says that the peer is known: there is no limit to its bytes any more.
        """
        assert isinstance(protocol, asyncio.BufferedProtocol)
        self._protocol = protocol
        self._allowance = None

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who has the plain bytes."""
        return self._protocol

    def is_closing(self) -> bool:
        """Say whether the connection has ended or is about to."""
        return self._is_closing

    def is_reading(self) -> bool:
        """Say whether plain bytes are handed on."""
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        """Hand nothing on, and take nothing from the socket."""
        self._is_reading = False
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on, soon, with what was received before and then with the socket."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            asyncio.get_running_loop().call_soon(self._go_on_reading)

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Say at how many waiting bytes to pause the protocol, and to resume it."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        self._limits = (high // 4 if low is None else low, high)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return at how many waiting bytes the protocol is resumed, and paused."""
        return self._limits

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for the socket to take them."""
        below = self._transport.get_write_buffer_size() if self._transport else 0
        return self._waiting + below

    def write(self, data: Data) -> None:
        """Send `data`, which must not change until the socket took it."""
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """Send several pieces, of which none may change until they are sent."""
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

    def can_write_eof(self) -> bool:
        """Say that one direction cannot be ended alone."""
        return False

    def close(self) -> None:
        """End the connection once everything written has been sent."""
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

    # How it works.

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
        """Hand on what was received, as far as there are whole records."""
        if self._is_decrypting:
            return  # called from a protocol that this calls
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
                    # Who says so reads no more: what waits would wait for ever.
                    self.eof_received()
                    self.abort()
                if filled < len(buffer):
                    break
        except (ssl.SSLError, PeerError) as error:
            self._fail(error)
        finally:
            self._is_decrypting = False
        self._send(records.answers())

    def _go_on_reading(self) -> None:
        if self.is_reading():
            self._decrypt()
        if self.is_reading() and self._transport is not None:
            self._transport.resume_reading()

    def _encrypt(self) -> None:
        """Encrypt what waits, as far as the socket takes it."""
        if not self._records.is_open:
            return
        below = self._transport
        try:
            # A transport that failed says so, but not yet that it is lost.
            while self._backlog and not self._is_blocked and not _has_ended(below):
                records, size = self._records.encrypt(self._backlog)
                self._waiting -= size
                self._send(records)
        except ssl.SSLError as error:
            self._fail(error)
        if self._is_closing and not self._backlog and self._transport is not None:
            self._send(self._records.say_end())
            # Not from within `resume_writing`: asyncio would end it twice.
            asyncio.get_running_loop().call_soon(self._transport.close)
