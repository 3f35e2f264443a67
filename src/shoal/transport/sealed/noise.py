"""Encrypt a connection: a protocol for the transport below, itself a transport.

`NoiseConnection` stands between a socket's transport and the protocol that handles the
plain bytes. It has the ciphers of a finished handshake, and moves messages of
docs/protocol.md, "Sealed transport". All connections of a thread receive into one
buffer, whose messages are decrypted straight into the upper protocol's buffer before
any other code runs; outgoing data is encrypted batch by batch as the socket accepts it.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

from shoal.core.crypto.noise import TAG_SIZE, Ciphers
from shoal.core.limits import OverheadLimit
from shoal.core.wire.noise_messages import (
    LENGTH_SIZE,
    MAX_MESSAGE,
    MAX_PAYLOAD,
    MESSAGE_OVERHEAD,
    seal,
    take_payloads,
    unseal_into,
)
from shoal.errors import PeerError, ProtocolError
from shoal.transport.liveness import watch_silence

__all__ = ["NoiseConnection"]

Data = bytes | bytearray | memoryview

RECEIVE_SIZE = 1024 * 1024  # bytes read from the socket at once; one buffer per thread
HIGH_WATER = 256 * 1024  # bytes waiting at which the upper protocol is paused
ENCRYPT_SLICE = 4 * MAX_PAYLOAD  # bytes encrypted at once


class _Scratch(threading.local):
    """Hold one receive buffer per thread, and so per event loop."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVE_SIZE))


_scratch = _Scratch()
_NO_PROTOCOL = asyncio.BufferedProtocol()  # of a connection that has ended


class NoiseConnection(asyncio.BufferedProtocol, asyncio.Transport):
    """Encrypt one connection."""

    def __init__(
        self, ciphers: Ciphers, begin: Callable[[], asyncio.BufferedProtocol]
    ) -> None:
        """Encrypt with the ciphers of a handshake.

        `begin` is called once the transport below is there and returns the upper
        protocol, whose `connection_made` follows at once; it may raise `PeerError`.
        """
        super().__init__()
        self._protocol = _NO_PROTOCOL
        self._begin = begin
        self._ciphers = ciphers
        self._overhead = OverheadLimit()
        self._transport: asyncio.Transport | None = None
        self._kept = b""  # received, but not decrypted yet
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
        """Pass the connection to the upper protocol."""
        # uvloop's transport is not a subclass, but has the same methods.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        watch_silence(transport)
        # Data that the socket does not accept waits here, unencrypted and not copied.
        transport.set_write_buffer_limits(high=0)
        # Kept no longer: it may refer to the protocol, which refers to this transport.
        begin, self._begin = self._begin, asyncio.BufferedProtocol
        try:
            self._protocol = begin()
        except PeerError:
            self.abort()
        else:
            self._protocol.connection_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the thread's buffer; `buffer_updated` empties it."""
        kept = len(self._kept)
        if kept:
            _scratch.view[:kept] = self._kept
        return _scratch.view[kept:]

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt the received messages."""
        self._received = nbytes
        if not self._is_closing:
            self._overhead.leak(asyncio.get_running_loop().time())
            self._decrypt(_scratch.view[: len(self._kept) + nbytes])

    def eof_received(self) -> None:
        """Let the transport close: the stream was cut off, not ended by the peer."""

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
        """Report to the upper protocol why the connection ended."""
        self._is_closing = True
        self._transport = None
        self._backlog.clear()
        self._waiting = 0
        # No reference cycle may remain: the memory of a connection would wait for the
        # garbage collector.
        protocol, self._protocol = self._protocol, _NO_PROTOCOL
        protocol.connection_lost(self._fault or error)

    # Called by the protocol above.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return a property of the connection, or of the transport below.

        `held_back` is the most received bytes that may not have been passed on yet,
        `gathers` whether `writelines` avoids a copy, `received` the number of bytes in
        the last read from the socket.
        """
        if name == "held_back":
            return LENGTH_SIZE + MAX_MESSAGE
        if name == "gathers":
            return True
        if name == "received":
            return self._received
        if self._transport is None:
            return default
        return self._transport.get_extra_info(name, default)

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
                self._overhead.on_payload(len(data))
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

    def _decrypt(self, received: memoryview) -> None:
        """Pass on the payload of all complete messages; keep the rest."""
        if self._is_decrypting:
            return  # called by the protocol that this method calls
        self._is_decrypting = True
        end = len(received)
        begin = 0
        try:
            while self._is_reading and not self._is_closing:
                body = begin + LENGTH_SIZE
                if end < body:
                    break
                following = body + (received[begin] << 8 | received[begin + 1])
                if end < following:
                    break
                begin = following
                self._open(received[body:following])
        except PeerError as error:
            self._fail(error)
        finally:
            # The next connection of this thread receives into the same buffer.
            self._kept = b"" if self._is_closing else bytes(received[begin:])
            self._is_decrypting = False

    def _open(self, message: memoryview) -> None:
        """Decrypt a message into the upper protocol's buffer."""
        size = len(message) - TAG_SIZE
        self._overhead.add(MESSAGE_OVERHEAD)
        if size <= 0:
            self._end(message)
            return
        self._overhead.on_payload(size)
        key = self._ciphers.receive.next()
        buffer = self._protocol.get_buffer(-1)
        assert isinstance(buffer, memoryview)
        if len(buffer) >= size:
            unseal_into(message, key, buffer[:size])
            self._protocol.buffer_updated(size)
            return
        payload = memoryview(bytearray(size))
        unseal_into(message, key, payload)
        while payload and not self._is_closing:
            buffer = self._protocol.get_buffer(-1)
            assert isinstance(buffer, memoryview)
            part = payload[: len(buffer)]
            buffer[: len(part)] = part
            self._protocol.buffer_updated(len(part))
            payload = payload[len(part) :]

    def _end(self, message: memoryview) -> None:
        """End the connection: the peer has sent the message that ends its stream.

        Only then is `eof_received` of the upper protocol called. The peer also
        stops reading then: data that waits for it would wait without end.
        """
        if len(message) != TAG_SIZE:
            raise ProtocolError("a message that is shorter than its tag")
        self._ciphers.receive.decrypt(message)
        self._protocol.eof_received()
        self.abort()

    def _continue_reading(self) -> None:
        if self.is_reading():
            self._decrypt(memoryview(self._kept))
        if self.is_reading() and self._transport is not None:
            self._transport.resume_reading()

    def _encrypt(self) -> None:
        """Encrypt the waiting data until the socket's buffer is full."""
        below = self._transport
        # A failed transport is closing, but has not called connection_lost yet.
        while (
            self._backlog
            and not self._is_blocked
            and below is not None
            and not below.is_closing()
        ):
            payloads = take_payloads(self._backlog, ENCRYPT_SLICE)
            self._waiting -= sum(map(len, payloads))
            below.write(self._seal(payloads))
        if self._is_closing and not self._backlog and below is not None:
            below.write(self._seal([memoryview(b"")]))
            # Not within `resume_writing`: asyncio would close the transport twice.
            asyncio.get_running_loop().call_soon(below.close)

    def _seal(self, payloads: list[memoryview]) -> bytearray:
        send = self._ciphers.send
        return seal(payloads, [send.next() for _ in payloads])
