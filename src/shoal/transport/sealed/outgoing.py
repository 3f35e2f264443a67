"""Encrypt what a connection sends, batch by batch as the socket accepts it.

`Outgoing` owns the cipher of the sending direction. Small batches are encrypted on the
event loop, large ones in a thread, one at a time: while a thread has the cipher, later
data waits, so that the messages are in the order of their nonces. Data that is made in
threads is made part by part, as the socket takes it, so that a peer that reads slowly
costs little memory. Memory that encrypted data is sent from goes back to the pool once
the socket has taken it.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from shoal.core.crypto.noise import Cipher
from shoal.core.wire.framing import BufferPool
from shoal.core.wire.noise_messages import (
    MAX_PAYLOAD,
    seal,
    sealed_size,
    take_payloads,
)
from shoal.transport.making import Data, Making

__all__ = ["Outgoing"]

T = TypeVar("T")

ENCRYPT_SLICE = 4 * MAX_PAYLOAD  # bytes encrypted at once on the event loop
THREAD_SLICE = 32 * MAX_PAYLOAD  # bytes encrypted at once in a thread
THREAD_LEAST = 128 * 1024  # bytes that are worth the way to a thread and back
# Small enough that a slow peer, too, is seen to accept one now and then.
WRITE_SLICE = 256 * 1024  # bytes passed to the transport at once
SLICE_SLACK = 16 * 1024  # bytes by which a slice may be longer, to be the last one
SEAL_ROOM = 1024  # bytes for the headers of the chunks in one batch


def _ignore(*_: object) -> None:
    pass


class Outgoing:
    """Hold the data of one connection until the socket accepts it."""

    def __init__(
        self,
        cipher: Cipher,
        threads: Executor | None,
        *,
        on_sealed: Callable[[int], None],
        on_error: Callable[[], None],
    ) -> None:
        """Encrypt with `cipher`, large batches in `threads`.

        `on_sealed` is called with the size of data that a thread has encrypted, and
        `on_error` if a thread could not make its data.
        """
        self.transport: asyncio.Transport | None = None
        """The transport to write to; None before it is there, and once it is lost."""
        self.pool: BufferPool | None = None
        """Where the memory for encrypted data comes from; None for new memory."""
        self.lent = 0
        """Bytes of the memory that holds encrypted data, sent in part or not."""
        self.written = 0
        """Bytes passed to the transport so far."""
        self.is_ending = False
        """Whether the stream ends when all data is written."""
        self._cipher = cipher
        self._threads = threads
        self._on_sealed = on_sealed
        self._on_error = on_error
        self._is_blocked = False  # the socket's buffer is full
        self._backlog: deque[memoryview] = deque()  # not encrypted yet
        self._backlogged = 0  # bytes in it
        self._sealing: asyncio.Future[Any] | None = None
        self._sealing_size = 0  # bytes that it encrypts
        self._making: Making[Any] | None = None
        self._buffer: bytearray | None = None  # that the thread makes messages in
        # Encrypted, but not written yet; memory of the pool follows what is in it.
        self._ready: deque[memoryview | bytearray] = deque()
        self._ready_size = 0  # bytes in it
        self._written: list[bytearray] = []  # memory that the socket may still need

    @property
    def waiting(self) -> int:
        """Return how many bytes in memory were not passed to the transport yet."""
        return self._backlogged + self._sealing_size + self._ready_size

    @property
    def can_make(self) -> bool:
        """Return True if `make` can be called now."""
        is_free = self._sealing is None and not self._backlog and not self.is_making
        return self._threads is not None and is_free

    @property
    def is_making(self) -> bool:
        """Return True if data is being made, before which no other is sent."""
        return self._making is not None

    def write(self, data: Data) -> None:
        """Queue `data`, which must not change; call `send` then."""
        self._backlog.append(memoryview(data))
        self._backlogged += len(data)

    def block(self) -> None:
        """Note that the socket's buffer is full."""
        self._is_blocked = True

    def unblock(self) -> None:
        """Note that the socket has sent everything, and send more."""
        self._is_blocked = False
        self._return_buffers()
        self.send()

    def drop(self) -> None:
        """Forget all data that was not sent."""
        self._backlog.clear()
        self._ready.clear()
        self._written.clear()
        self._backlogged = self._sealing_size = self._ready_size = self.lent = 0
        making, self._making = self._making, None
        if making is not None and self._sealing is None:
            making.cancel()

    def detach(self) -> None:
        """Forget the connection, which is lost, and all data."""
        self.drop()
        self.transport = None
        # These refer to the owner, whose memory would wait for the garbage collector.
        self._on_sealed, self._on_error = _ignore, _ignore

    def make(self, making: Making[T]) -> None:
        """Make data in threads, encrypt it there, and send it after all earlier data.

        Each part is encrypted while it is in the processor's cache. Call this only if
        `can_make`.
        """
        self._making = making
        self._make_more()

    def _make_more(self) -> None:
        """Make the next parts once the socket has taken most of the last ones."""
        making, below = self._making, self.transport
        if making is None or self._sealing is not None or below is None:
            return
        queued = self._ready_size + below.get_write_buffer_size()
        if not (size := making.next_size(queued, self._make_more)):
            return
        self._buffer = self._take_buffer(size)
        self._sealing_size = size
        loop = asyncio.get_running_loop()
        work = partial(self._seal_parts, making, size, self._buffer)
        self._sealing = loop.run_in_executor(self._threads, work)
        self._sealing.add_done_callback(partial(self._on_made, making))

    def _seal_parts(
        self, making: Making[T], size: int, buffer: bytearray | None
    ) -> list[memoryview]:
        """Make and encrypt some parts, in a thread.

        The cipher is this thread's as long as `_sealing` is set.
        """
        sealed = []
        room = None if buffer is None else memoryview(buffer)
        for parts in making.take(size):
            views = deque(memoryview(each) for each in parts)
            payloads = take_payloads(views, sys.maxsize)
            keys = self._cipher.take_keys(len(payloads))
            sealed.append(seal(payloads, keys, room))
            if room is not None and sealed[-1].obj is buffer:
                room = room[len(sealed[-1]) :]
        return sealed

    def _on_made(
        self, making: Making[T], sealing: asyncio.Future[list[memoryview]]
    ) -> None:
        buffer, self._buffer = self._buffer, None
        making.on_made()
        if (error := sealing.exception()) is not None:
            self._sealing = self._making = None
            self._on_error()
            making.fail(error)
            return
        # Noted first: `_finish` may have a thread make the rest.
        is_current, is_done = self._making is making, making.is_done
        if is_done:
            self._making = None
        self._finish(sealing.result(), buffer)
        if not is_current:
            making.cancel()
        elif is_done:
            making.finish()

    def send(self) -> None:
        """Encrypt and write until the socket's buffer is full."""
        below = self.transport
        # A failed transport is closing, but has not called connection_lost yet.
        while below is not None and not below.is_closing():
            if self._ready:
                if self._is_blocked:
                    break
                self._write_ready(below)
            elif self._sealing is not None or self.is_making or not self._backlog:
                break
            elif self._threads is not None and self._backlogged >= THREAD_LEAST:
                self._seal_in_thread(self._threads)
            elif self._is_blocked:
                break
            else:
                payloads = self._take(ENCRYPT_SLICE)
                sealed = seal(payloads, self._cipher.take_keys(len(payloads)))
                self.written += len(sealed)
                below.write(sealed)
        self._make_more()
        if self.is_ending and below is not None and not (self.waiting or self._making):
            below.write(seal([memoryview(b"")], self._cipher.take_keys(1)))
            # Not within `resume_writing`: asyncio would close the transport twice.
            asyncio.get_running_loop().call_soon(below.close)

    def _write_ready(self, below: asyncio.Transport) -> None:
        """Pass encrypted data to the socket; take its memory back once it is sent."""
        part = self._ready.popleft()
        if isinstance(part, bytearray):  # all messages in this memory are written
            self._written.append(part)
            self._return_buffers()
            return
        # The tags of a chunk make it a little longer than a few slices; a system call
        # and a packet for these bytes alone would wake the peer once more.
        if len(part) > WRITE_SLICE + SLICE_SLACK:
            self._ready.appendleft(part[WRITE_SLICE:])
            part = part[:WRITE_SLICE]
        self._ready_size -= len(part)
        self.written += len(part)
        below.write(part)

    def _return_buffers(self) -> None:
        below = self.transport
        if self._written and below is not None and not below.get_write_buffer_size():
            if self.pool is not None:
                for buffer in self._written:
                    self.pool.give(buffer)
            self.lent -= sum(map(len, self._written))
            self._written.clear()

    def _take_buffer(self, size: int) -> bytearray | None:
        """Return memory for the messages with `size` bytes and a few headers."""
        if self.pool is None:
            return None
        return self.pool.take(sealed_size(size)[1] + SEAL_ROOM)

    def _take(self, limit: int) -> list[memoryview]:
        payloads = take_payloads(self._backlog, limit)
        self._backlogged -= sum(map(len, payloads))
        return payloads

    def _seal_in_thread(self, threads: Executor) -> None:
        """Encrypt a batch in a thread; all later data waits behind it."""
        payloads = self._take(THREAD_SLICE)
        keys = self._cipher.take_keys(len(payloads))
        self._sealing_size = sum(map(len, payloads))
        buffer = self._take_buffer(self._sealing_size)
        room = None if buffer is None else memoryview(buffer)
        loop = asyncio.get_running_loop()
        self._sealing = loop.run_in_executor(threads, seal, payloads, keys, room)
        self._sealing.add_done_callback(
            lambda done: self._finish([done.result()], buffer)
        )

    def _finish(self, sealed: list[memoryview], buffer: bytearray | None) -> None:
        """Send what a thread has encrypted, unless it was dropped meanwhile."""
        self._sealing = None
        if self.transport is not None and self._sealing_size:
            self._sealing_size = 0
            size = sum(map(len, sealed))
            self._ready.extend(sealed)
            self._ready_size += size
            if buffer is not None:
                self.lent += len(buffer)
                self._ready.append(buffer)
            self.send()
            self._on_sealed(size)
