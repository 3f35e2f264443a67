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
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any, TypeVar, cast

from shoal.core.crypto.noise import TAG_SIZE, Ciphers
from shoal.core.limits import OverheadLimit
from shoal.core.wire.framing import BufferPool
from shoal.core.wire.noise_messages import (
    LENGTH_SIZE,
    MAX_MESSAGE,
    MAX_PAYLOAD,
    MESSAGE_OVERHEAD,
    SealedData,
    seal,
    sealed_size,
    take_payloads,
    unseal_into,
)
from shoal.errors import PeerError, ProtocolError
from shoal.transport.connection import DataProtocol
from shoal.transport.liveness import watch_silence

__all__ = ["NoiseConnection"]

Data = bytes | bytearray | memoryview
T = TypeVar("T")

RECEIVE_SIZE = 1024 * 1024  # bytes read from the socket at once; one buffer per thread
HIGH_WATER = 256 * 1024  # bytes waiting at which the upper protocol is paused
ENCRYPT_SLICE = 4 * MAX_PAYLOAD  # bytes encrypted at once on the event loop
THREAD_SLICE = 32 * MAX_PAYLOAD  # bytes encrypted at once in a thread
THREAD_LEAST = 128 * 1024  # bytes that are worth the way to a thread and back
# Small enough that a slow peer, too, is seen to accept one now and then.
WRITE_SLICE = 256 * 1024  # bytes passed to the transport below at once
SEAL_ROOM = 1024  # bytes for the headers of the chunks in one batch
DATA_LEAST = 128 * 1024  # bytes of chunk data that are not decrypted here
# Room behind chunk data in its buffer: for the next message, which announces more.
DATA_ROOM = 512  # bytes


class _Scratch(threading.local):
    """Hold one receive buffer per thread, and so per event loop."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVE_SIZE))


_scratch = _Scratch()
_NO_PROTOCOL = asyncio.BufferedProtocol()  # of a connection that has ended


class _Incoming:
    """The data of one chunk while it arrives."""

    def __init__(self, pool: BufferPool, length: int) -> None:
        self.length = length
        self.messages, self.size = sealed_size(length)
        self.buffer = pool.take(self.size + DATA_ROOM)
        self.view = memoryview(self.buffer)
        self.filled = 0

    @property
    def missing(self) -> int:
        """Return how many bytes have not arrived."""
        return max(0, self.size - self.filled)

    def add(self, received: memoryview) -> int:
        """Copy what belongs to the data; return how many bytes that is."""
        count = min(self.missing, len(received))
        self.view[self.filled : self.filled + count] = received[:count]
        self.filled += count
        return count


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
        self._threads = threads
        self._takes_data: DataProtocol | None = None
        self._incoming: _Incoming | None = None
        self._sealing: asyncio.Future[Any] | None = None
        self._sealing_size = 0  # bytes that it encrypts
        # Encrypted, but not written yet; memory of the pool follows what is in it.
        self._ready: deque[memoryview | bytearray] = deque()
        self._ready_size = 0  # bytes in it
        self._written: list[bytearray] = []  # memory that the socket may still need
        self._ciphers = ciphers
        self._overhead = OverheadLimit()
        self._transport: asyncio.Transport | None = None
        self._kept = b""  # received, but not decrypted yet
        self._backlog: deque[memoryview] = deque()  # not encrypted yet
        self._backlogged = 0  # bytes in it
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
            if isinstance(self._protocol, DataProtocol):
                self._takes_data = self._protocol
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
        self._received = nbytes
        if not self._is_closing:
            self._overhead.leak(asyncio.get_running_loop().time())
            if self._incoming is not None:
                self._on_data(self._incoming, nbytes)
            else:
                self._decrypt(_scratch.view[: len(self._kept) + nbytes])

    def eof_received(self) -> None:
        """Let the transport close: the stream was cut off, not ended by the peer."""

    def pause_writing(self) -> None:
        """Stop encrypting: the socket's buffer is full."""
        self._is_blocked = True

    def resume_writing(self) -> None:
        """Encrypt the waiting data."""
        self._is_blocked = False
        if self._takes_data is not None:
            self._takes_data.data_written()
        if self._transport is not None:
            self._return_buffers(self._transport)
        self._encrypt()
        self._resume_protocol()

    def connection_lost(self, error: Exception | None) -> None:
        """Report to the upper protocol why the connection ended."""
        self._is_closing = True
        self._transport = self._takes_data = self._incoming = None
        self._drop()
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

    @property
    def _waiting(self) -> int:
        """Return how many bytes were not passed to the transport below yet."""
        return self._backlogged + self._sealing_size + self._ready_size

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
                self._backlogged += len(data)
                self._overhead.on_payload(len(data))
        self._encrypt()
        if self._waiting > self._limits[1] and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_writing()

    @property
    def can_write_made(self) -> bool:
        """Return True if `write_made` can be called now."""
        is_free = self._sealing is None and not self._backlog
        return self._threads is not None and is_free and not self._is_closing

    def write_made(
        self, size: int, make: Callable[[], Iterable[tuple[list[Data], T]]]
    ) -> asyncio.Future[list[T]]:
        """Make data in a thread, encrypt it there, and send it after all earlier data.

        `make` yields parts of the data, which has about `size` bytes, each with a note.
        Each is encrypted while it is in the processor's cache. The result has all
        notes, when the data waits for the socket. Call this only if `can_write_made`.
        """
        assert self.can_write_made
        loop = asyncio.get_running_loop()
        made: asyncio.Future[list[T]] = loop.create_future()
        send, buffer = self._ciphers.send, self._take_buffer(size)

        def work() -> tuple[list[memoryview], list[T]]:
            # The cipher is this thread's as long as `_sealing` is set.
            sealed, notes = [], []
            room = None if buffer is None else memoryview(buffer)
            for parts, note in make():
                views = deque(memoryview(each) for each in parts)
                payloads = take_payloads(views, sys.maxsize)
                sealed.append(seal(payloads, [send.next() for _ in payloads], room))
                if room is not None and sealed[-1].obj is buffer:
                    room = room[len(sealed[-1]) :]
                notes.append(note)
            return sealed, notes

        def done(sealing: asyncio.Future[tuple[list[memoryview], list[T]]]) -> None:
            if (error := sealing.exception()) is not None:
                self._sealing = None
                self.abort()
                made.set_exception(error)
                return
            sealed, notes = sealing.result()
            self._overhead.on_payload(sum(map(len, sealed)))
            self._on_sealed(sealed, buffer)
            made.set_result(notes)

        self._sealing_size = size
        self._sealing = loop.run_in_executor(self._threads, work)
        self._sealing.add_done_callback(done)
        return made

    def close(self) -> None:
        """End the connection once all written data is sent."""
        if self._transport is not None and not self._is_closing:
            self._is_closing = True
            self._transport.pause_reading()
            self._encrypt()

    def abort(self) -> None:
        """End the connection at once."""
        self._is_closing = True
        self._drop()
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
                if (incoming := self._incoming) is not None:
                    begin += incoming.add(received[begin:])
                    if incoming.missing:
                        break
                    self._finish_data(incoming)
                body = begin + LENGTH_SIZE
                if end < body:
                    break
                following = body + (received[begin] << 8 | received[begin + 1])
                if end < following:
                    break
                begin = following
                self._open(received[body:following])
                self._expect_data()
        except PeerError as error:
            self._fail(error)
        finally:
            # The next connection of this thread receives into the same buffer.
            self._kept = b"" if self._is_closing else bytes(received[begin:])
            self._is_decrypting = False

    def _expect_data(self) -> None:
        """Receive the data of a chunk apart if it comes next."""
        takes = self._takes_data
        if takes is not None and (length := takes.awaited_data) >= DATA_LEAST:
            self._incoming = _Incoming(takes.pool, length)

    def _on_data(self, incoming: _Incoming, nbytes: int) -> None:
        """Note bytes that arrived in the buffer of a chunk."""
        incoming.filled += nbytes
        assert self._takes_data is not None
        self._takes_data.data_progress(nbytes, incoming.missing)
        if not incoming.missing:
            # The bytes behind it stay valid: the chunk's memory is not used again.
            self._decrypt(incoming.view[incoming.size : incoming.filled])

    def _finish_data(self, incoming: _Incoming) -> None:
        """Hand over the data of a chunk that has arrived."""
        self._incoming = None
        self._overhead.on_payload(incoming.length)
        keys = [self._ciphers.receive.next() for _ in range(incoming.messages)]
        data = SealedData(incoming.view[: incoming.size], keys, incoming.length)
        assert self._takes_data is not None
        self._takes_data.data_complete(data, incoming.buffer)

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

    def _drop(self) -> None:
        """Forget all data that was not sent."""
        self._backlog.clear()
        self._ready.clear()
        self._written.clear()
        self._backlogged = self._sealing_size = self._ready_size = 0

    def _resume_protocol(self) -> None:
        if self._is_paused and self._waiting <= self._limits[0]:
            self._is_paused = False
            if not self._is_closing:
                self._protocol.resume_writing()

    def _encrypt(self) -> None:
        """Encrypt and write the waiting data until the socket's buffer is full."""
        below = self._transport
        # A failed transport is closing, but has not called connection_lost yet.
        while below is not None and not below.is_closing():
            if self._ready:
                if self._is_blocked:
                    break
                self._write_ready(below)
            elif self._sealing is not None or not self._backlog:
                break
            elif self._threads is not None and self._backlogged >= THREAD_LEAST:
                self._seal_in_thread(self._threads)
            elif self._is_blocked:
                break
            else:
                self._add_ready([self._seal(self._take(ENCRYPT_SLICE))])
        if self._is_closing and below is not None and not self._waiting:
            below.write(self._seal([memoryview(b"")]))
            # Not within `resume_writing`: asyncio would close the transport twice.
            asyncio.get_running_loop().call_soon(below.close)

    def _write_ready(self, below: asyncio.Transport) -> None:
        """Pass encrypted data to the socket; take its memory back once it is sent."""
        part = self._ready.popleft()
        if isinstance(part, bytearray):  # all messages in this memory are written
            self._written.append(part)
            self._return_buffers(below)
            return
        if len(part) > WRITE_SLICE:
            self._ready.appendleft(part[WRITE_SLICE:])
            part = part[:WRITE_SLICE]
        self._ready_size -= len(part)
        below.write(part)

    def _return_buffers(self, below: asyncio.Transport) -> None:
        if self._written and not below.get_write_buffer_size():
            takes = self._takes_data
            for buffer in self._written:
                if takes is not None:
                    takes.pool.give(buffer)
            self._written.clear()

    def _take_buffer(self, size: int) -> bytearray | None:
        """Return memory for the messages with `size` bytes and a few headers."""
        if self._takes_data is None:
            return None
        return self._takes_data.pool.take(sealed_size(size)[1] + SEAL_ROOM)

    def _take(self, limit: int) -> list[memoryview]:
        payloads = take_payloads(self._backlog, limit)
        self._backlogged -= sum(map(len, payloads))
        return payloads

    def _seal(self, payloads: list[memoryview]) -> memoryview:
        send = self._ciphers.send
        return seal(payloads, [send.next() for _ in payloads])

    def _seal_in_thread(self, threads: Executor) -> None:
        """Encrypt a batch in a thread; all later data waits behind it."""
        payloads = self._take(THREAD_SLICE)
        keys = [self._ciphers.send.next() for _ in payloads]
        self._sealing_size = sum(map(len, payloads))
        into = self._take_buffer(self._sealing_size)
        loop = asyncio.get_running_loop()
        room = None if into is None else memoryview(into)
        self._sealing = loop.run_in_executor(threads, seal, payloads, keys, room)
        self._sealing.add_done_callback(
            lambda done: self._on_sealed([done.result()], into)
        )

    def _on_sealed(self, sealed: list[memoryview], buffer: bytearray | None) -> None:
        self._sealing = None
        if self._transport is not None and self._sealing_size:
            self._sealing_size = 0
            self._add_ready(sealed)
            if buffer is not None:
                self._ready.append(buffer)
            self._encrypt()
            self._resume_protocol()

    def _add_ready(self, sealed: list[memoryview]) -> None:
        self._ready.extend(sealed)
        self._ready_size += sum(map(len, sealed))
