"""Encrypt a connection: a protocol for the transport below, itself a transport.

`NoiseConnection` stands between a socket's transport and the protocol that handles the
plain bytes. It has the ciphers of a finished handshake, and moves messages of
docs/protocol.md, "Sealed transport". All connections of a thread receive into one
buffer, whose messages are decrypted straight into the upper protocol's buffer before
any other code runs; outgoing data is encrypted batch by batch as the socket accepts it.

The event loop does not touch large amounts of data. If the upper protocol is a
`DataProtocol`, the data of a chunk is received into a buffer of its own and handed over
as it came, to be decrypted by the thread that verifies it: the nonces are known by
counting messages. Outgoing data is encrypted in the threads of an executor.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any, TypeVar, cast

from shoal.core.crypto.noise import TAG_SIZE, Ciphers
from shoal.core.limits import OverheadLimit
from shoal.core.wire.framing import BufferPool
from shoal.core.wire.noise_messages import (
    LENGTH_SIZE,
    MAX_MESSAGE,
    MESSAGE_OVERHEAD,
    IncomingData,
    leading_messages,
    unseal_into,
)
from shoal.errors import PeerError, ProtocolError
from shoal.transport.data_protocol import DataProtocol
from shoal.transport.liveness import watch_silence
from shoal.transport.making import Data, Making
from shoal.transport.sealed.outgoing import Outgoing

__all__ = ["NoiseConnection"]

T = TypeVar("T")

RECEIVE_SIZE = 1024 * 1024  # bytes read from the socket at once; one buffer per thread
HIGH_WATER = 256 * 1024  # bytes waiting at which the upper protocol is paused
DATA_LEAST = 128 * 1024  # bytes of chunk data that are not decrypted here


class _Scratch(threading.local):
    """Hold one receive buffer per thread, and so per event loop."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVE_SIZE))


_scratch = _Scratch()
_NO_PROTOCOL = asyncio.BufferedProtocol()  # of a connection that has ended


class NoiseConnection(asyncio.BufferedProtocol, asyncio.Transport):
    """Encrypt one connection."""

    def __init__(
        self,
        ciphers: Ciphers,
        begin: Callable[[], asyncio.BufferedProtocol],
        threads: Executor | None = None,
    ) -> None:
        """Encrypt with the ciphers of a handshake, large amounts in `threads`.

        `begin` is called once the transport below is there and returns the upper
        protocol, whose `connection_made` follows at once; it may raise `PeerError`.
        """
        super().__init__()
        self._protocol = _NO_PROTOCOL
        self._begin = begin
        self._takes_data: DataProtocol | None = None
        self._incoming: IncomingData | None = None
        self._pool = BufferPool(0)  # that of a `DataProtocol`
        self._cipher = ciphers.receive
        self._outgoing = Outgoing(
            *(ciphers.send, threads),
            on_sealed=self._on_sealed,
            on_error=self.abort,
        )
        self._overhead = OverheadLimit()
        self._transport: asyncio.Transport | None = None
        self._kept = b""  # received, but not decrypted yet
        self._limits = (HIGH_WATER // 4, HIGH_WATER)
        self._is_closing = False
        self._is_paused = False  # the upper protocol is paused
        self._is_reading = True
        self._fault: Exception | None = None

    # Called by the transport below.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass the connection to the upper protocol."""
        # uvloop's transport is not a subclass, but has the same methods.
        transport = cast(asyncio.Transport, transport)
        self._transport = self._outgoing.transport = transport
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
            if isinstance(self._protocol, DataProtocol):
                self._takes_data = self._protocol
                self._pool = self._outgoing.pool = self._protocol.pool
            self._protocol.connection_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the rest of a chunk's buffer, or the thread's buffer.

        `buffer_updated` empties the latter.
        """
        if self._incoming is not None:
            return self._incoming.view[self._incoming.filled :]
        kept = len(self._kept)
        if kept:
            _scratch.view[:kept] = self._kept
        return _scratch.view[kept:]

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt the received messages."""
        if self._is_closing:
            return
        self._overhead.leak(asyncio.get_running_loop().time())
        if (incoming := self._incoming) is None:
            self._decrypt(_scratch.view[: len(self._kept) + nbytes], nbytes)
        else:
            incoming.filled += nbytes
            # The bytes behind it stay valid: the chunk's memory is not used again.
            self._decrypt(incoming.view[incoming.size : incoming.filled], nbytes)

    def eof_received(self) -> None:
        """Let the transport close: the stream was cut off, not ended by the peer."""

    def pause_writing(self) -> None:
        """Stop encrypting: the socket's buffer is full."""
        self._outgoing.block()

    def resume_writing(self) -> None:
        """Encrypt the waiting data."""
        if self._takes_data is not None:
            self._takes_data.data_written()
        self._outgoing.unblock()
        self._resume_protocol()

    def connection_lost(self, error: Exception | None) -> None:
        """Report to the upper protocol why the connection ended."""
        self._is_closing = True
        self._transport = self._takes_data = self._incoming = None
        self._outgoing.detach()
        # No reference cycle may remain: the memory of a connection would wait for the
        # garbage collector.
        protocol, self._protocol = self._protocol, _NO_PROTOCOL
        protocol.connection_lost(self._fault or error)

    # Called by the protocol above.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return a property of the connection, or of the transport below.

        `gathers` is True: `writelines` avoids a copy, and a `DataProtocol` is told when
        one read from the socket has been passed on. `accepted` is how many bytes the
        system has accepted, `memory` how many are in use for what it has not.
        """
        if name == "gathers":
            return True
        if self._transport is None:
            return default
        below = self._transport.get_write_buffer_size()
        if name == "accepted":
            return self._outgoing.written - below
        if name == "memory":
            return max(self._outgoing.lent, self._outgoing.waiting) + below
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
        return self._outgoing.waiting + below

    def write(self, data: Data) -> None:
        """Send `data`, which must not change until it is sent."""
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """Send several buffers, which must not change until they are sent."""
        if self._is_closing:
            return
        for data in list_of_data:
            if data:
                self._outgoing.write(data)
                self._overhead.on_payload(len(data))
        self._outgoing.send()
        self._pause_protocol()

    @property
    def can_write_made(self) -> bool:
        """Return True if `write_made` can be called now."""
        return self._outgoing.can_make and not self._is_closing

    def write_made(self, making: Making[T]) -> None:
        """Make and send data in threads, as `Outgoing.make` does."""
        assert self.can_write_made
        self._outgoing.make(making)

    def close(self) -> None:
        """End the connection once all written data is sent."""
        if self._transport is not None and not self._is_closing:
            self._is_closing = self._outgoing.is_ending = True
            self._transport.pause_reading()
            self._outgoing.send()

    def abort(self) -> None:
        """End the connection at once."""
        self._is_closing = True
        self._outgoing.drop()
        if self._transport is not None:
            self._transport.abort()

    # Both directions.

    def _decrypt(self, received: memoryview, nbytes: int = 0) -> None:
        """Pass on the payload of all complete messages; keep the rest.

        The last `nbytes` bytes were just read from the socket.
        """
        begin = 0
        try:
            while self._is_reading and not self._is_closing:
                if (incoming := self._incoming) is not None:
                    begin += incoming.add(received[begin:])
                    if incoming.filled < incoming.size:
                        break
                    self._finish_data(incoming)
                after = self._open_some(received, begin)
                if after == begin:
                    break
                begin = after
        except PeerError as error:
            self._fault = error
            self.abort()
        # The next connection of this thread receives into the same buffer.
        self._kept = b"" if self._is_closing else bytes(received[begin:])
        if (takes := self._takes_data) is not None:
            waiting = self._incoming
            missing = 0 if waiting is None else waiting.size - waiting.filled
            takes.read_done(nbytes, missing, held_back=LENGTH_SIZE + MAX_MESSAGE)

    def _finish_data(self, incoming: IncomingData) -> None:
        """Hand over the data of a chunk that has arrived."""
        self._incoming = None
        self._overhead.on_payload(incoming.length)
        assert self._takes_data is not None
        self._takes_data.data_complete(incoming.finish(self._cipher), incoming.buffer)

    def _open_some(self, received: memoryview, begin: int) -> int:
        """Decrypt messages into the upper protocol's buffer; return where they end.

        Those are as many as fit. If the data of a chunk comes next, receive it apart.
        """
        if begin == len(received):
            return begin
        takes = self._takes_data
        is_apart = takes is not None and takes.longest_data >= DATA_LEAST
        room = cast(memoryview, self._protocol.get_buffer(-1))
        messages = leading_messages(received[begin:], len(room), is_apart=is_apart)
        if not messages:
            return begin
        size = sum(map(len, messages)) - len(messages) * TAG_SIZE
        self._overhead.add(len(messages) * MESSAGE_OVERHEAD, max(0, size))
        if len(messages[0]) <= TAG_SIZE:
            self._end(messages[0])
        elif size > len(room):
            self._pass_in_parts(messages[0], size)
        else:
            unseal_into(messages, self._cipher.take_keys(len(messages)), room)
            self._protocol.buffer_updated(size)
        if takes is not None and (length := takes.awaited_data) >= DATA_LEAST:
            self._incoming = IncomingData(self._pool, length)
        return begin + size + len(messages) * MESSAGE_OVERHEAD

    def _pass_in_parts(self, message: memoryview, size: int) -> None:
        """Decrypt a message that is longer than the upper protocol's buffer."""
        payload = memoryview(bytearray(size))
        unseal_into([message], self._cipher.take_keys(1), payload)
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
        self._cipher.decrypt(message)
        self._protocol.eof_received()
        self.abort()

    def _continue_reading(self) -> None:
        if self.is_reading():
            self._decrypt(memoryview(self._kept))
        if self.is_reading() and self._transport is not None:
            self._transport.resume_reading()

    def _on_sealed(self, size: int) -> None:
        self._overhead.on_payload(size)
        # What a thread has made was not written, so nothing has paused the protocol.
        self._pause_protocol()
        self._resume_protocol()

    def _pause_protocol(self) -> None:
        outgoing = self._outgoing
        is_full = outgoing.is_making or outgoing.waiting > self._limits[1]
        if is_full and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_writing()

    def _resume_protocol(self) -> None:
        outgoing = self._outgoing
        is_full = outgoing.is_making or outgoing.waiting > self._limits[0]
        if self._is_paused and not is_full:
            self._is_paused = False
            if not self._is_closing:
                self._protocol.resume_writing()
