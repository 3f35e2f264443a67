"""One TCP connection: move bytes between a socket and a session.

A `Connection` owns its transport and makes no decisions: it passes the session's
events to a `Handler`. A protocol error by the peer ends the connection here and is
reported to the handler once.
"""

import asyncio
import asyncio.trsock
import socket
import sys
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from shoal.core.limits import MessageLimit
from shoal.core.names.address import Address
from shoal.core.session.events import Event
from shoal.core.session.session import Session
from shoal.core.wire.framing import BufferPool
from shoal.errors import PeerError
from shoal.net.socket_names import host_of
from shoal.transport.data_protocol import DataProtocol
from shoal.transport.liveness import has_hung_up, round_trip
from shoal.transport.making import Making

if TYPE_CHECKING:  # it imports cryptography, which open channels do not need
    from shoal.core.wire.noise_messages import SealedData

__all__ = ["Connection", "Handler"]

S = TypeVar("S", bound=Session)
T = TypeVar("T")

WRITE_HIGH = 256 * 1024  # bytes buffered in the transport at which writing pauses
WRITE_LOW = 64 * 1024  # bytes at which it resumes
WRITE_SLICE = 256 * 1024  # bytes of a large buffer passed to the transport at once
WAKE_SIZE = 256 * 1024  # bytes of a frame to wait for at most
WAKE_TIME = 0.1  # seconds to wait for them at the latest rate
WAKE_LEAST = 4 * 1024  # bytes; not worth a system call for fewer
AHEAD_SIZE = 512 * 1024  # bytes in one read from the socket that show we are behind
# Messages of one read that are acted on before the rest of it is decrypted.
MANY_MESSAGES = 256
_CAN_WAIT = sys.platform == "linux"  # elsewhere polling ignores SO_RCVLOWAT


class Handler(Protocol[S]):
    """Decide what happens with a connection; called on the event loop only."""

    def on_connected(self, connection: "Connection[S]") -> None:
        """Note that a connection is established."""

    def on_events(self, connection: "Connection[S]", events: list[Event]) -> None:
        """Act on the peer's messages."""

    def on_writable(self, connection: "Connection[S]") -> None:
        """Write more if there is more: the earlier data has been sent."""

    def on_lost(
        self, connection: "Connection[S]", error: PeerError | OSError | None
    ) -> None:
        """Note that a connection has ended, and why; None if it was closed normally."""


class Connection(DataProtocol, Generic[S]):
    """Join a session to a socket."""

    def __init__(self, session: S, handler: Handler[S]) -> None:
        self.session = session
        self.address = Address("", 0)
        """The peer's address, as seen on the socket."""
        self.last_heard = 0.0
        """Loop time when the last bytes arrived, or when the connection was made."""
        self.last_upload = -inf
        """Loop time when the socket last accepted part of a chunk for the peer."""
        self.connected_at = 0.0
        """Loop time when the connection was made."""
        self.received = 0
        """Bytes received."""
        self.last_read = 0
        """Bytes that the last read from the socket returned."""
        self.sent = 0
        """Bytes passed to the socket or queued for it."""
        self.chunks_sent = 0
        """Chunks sent to the peer; each allows it one more message."""
        self.message_limit = MessageLimit()
        """Limit of the peer's messages other than chunks."""
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._socket: asyncio.trsock.TransportSocket | None = None
        self._queue: deque[bytes | memoryview] = deque()
        self._is_paused = False
        self._has_ended = False
        self._error: PeerError | None = None
        self._time = asyncio.get_running_loop().time
        self._wake_size = 1
        self._gathers = False  # `read_done` follows the messages of one read
        self._events: list[Event] = []  # of the present read
        self._unpaid = 0  # of the session, when it last had no events
        self._pause: asyncio.TimerHandle | None = None
        self._is_read_paused = False

    @property
    def is_ahead(self) -> bool:
        """Return True if the peer sends faster than we read."""
        return self.last_read >= AHEAD_SIZE

    @property
    def is_writable(self) -> bool:
        """Return True if more data can be written without queueing it."""
        return not (self._is_paused or self._queue or self._transport is None)

    @property
    def is_drained(self) -> bool:
        """Return True if the system has accepted all written data."""
        if self._transport is None:
            return True
        return not self._queue and not self._transport.get_write_buffer_size()

    @property
    def is_closing(self) -> bool:
        """Return True if the connection has ended, or we have ended it.

        A peer that has closed its sending side but still reads is not closing.
        """
        return self._transport is None or self._has_ended

    @property
    def local_address(self) -> Address:
        """Return the address and port of this machine that are used, while it lasts."""
        transport = self._transport
        name = None if transport is None else transport.get_extra_info("sockname")
        return Address(host_of(name), name[1]) if name else Address("", 0)

    @property
    def rtt(self) -> float:
        """Return the seconds of a round trip as the kernel knows them; 0 otherwise."""
        return 0.0 if self._socket is None else round_trip(self._socket)

    def write(self, data: bytes | memoryview) -> None:
        """Send `data` after all earlier data."""
        if self._transport is None or self._transport.is_closing():
            return
        self.sent += len(data)
        must_wait = self._is_paused or self._queue or len(data) > WRITE_SLICE
        if must_wait and not self._gathers:
            self._queue.append(data)
            self._drain()
        else:
            self._transport.write(data)

    def writelines(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send `parts` in order, in one write where that needs no copy.

        Each write wakes the peer, and a header alone is not worth waking it for.
        """
        if not self._gathers:
            for part in parts:
                self.write(part)
        elif self._transport is not None and not self._transport.is_closing():
            self.sent += sum(map(len, parts))
            self._transport.writelines(parts)

    @property
    def can_write_made(self) -> bool:
        """Return True if this connection encrypts in threads, and is not doing it."""
        return bool(getattr(self._transport, "can_write_made", False))

    def write_made(self, making: Making[T]) -> None:
        """Make data in threads, as the socket takes it, and send it after earlier data.

        Call this only if `can_write_made`.
        """
        transport: Any = self._transport
        transport.write_made(making)

    @property
    def queued(self) -> int:
        """Return how many bytes of memory are in use for what waits for the socket."""
        if self._transport is None:
            return 0
        memory = self._transport.get_extra_info("memory")
        if memory is not None:
            return int(memory)
        return sum(map(len, self._queue)) + self._transport.get_write_buffer_size()

    @property
    def accepted(self) -> int:
        """Return how many bytes the system has accepted so far."""
        if self._transport is None:
            return self.sent
        below = self._transport.get_extra_info("accepted")
        return self.sent - self.queued if below is None else int(below)

    def flush(self) -> None:
        """Write the session's pending messages."""
        parts = self.session.data_to_send()
        if len(parts) == 1:
            self.write(parts[0])
        elif parts:
            self.write(b"".join(parts))

    def on_chunks_sent(self, chunks: int) -> None:
        """Note that `chunks` more chunks are being sent to the peer."""
        self.chunks_sent += chunks
        self.last_upload = self._time()

    def acknowledge_now(self) -> None:
        """Have the kernel acknowledge received data at once, where it can.

        A Node client of the workshop writes each frame in pieces and without
        TCP_NODELAY: its next piece waits for the acknowledgement, which the kernel
        would delay by 40 ms.
        """
        if self._socket is not None and hasattr(socket, "TCP_QUICKACK"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def close(self, error: PeerError | None = None) -> None:
        """End the connection at once; `error` is the peer's fault, if any."""
        if self._transport is not None and not self._has_ended:
            self._has_ended = True
            self._error = error
            self._queue.clear()
            self._transport.abort()

    def pause_reading(self) -> None:
        """Read nothing from the peer until `resume_reading`."""
        self._is_read_paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        """Read from the peer again, once its message limit allows."""
        self._is_read_paused = False
        self._update_reading()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the session."""
        # uvloop's transport is not a subclass, but has the same methods.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        peer = transport.get_extra_info("peername") or ("", 0)
        self.address = Address(host_of(peer), peer[1])
        self.connected_at = self.last_heard = self._time()
        self._socket = transport.get_extra_info("socket")
        self._gathers = transport.get_extra_info("gathers", False)
        # Otherwise each small message waits for a delayed acknowledgement
        # (docs/protocol.md, "TCP").
        if self._socket is not None:  # there is none over QUIC
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._handler.on_connected(self)
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the session's buffer for the loop to receive into."""
        return self.session.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Pass received bytes to the session, and its events to the handler."""
        try:
            self._events += self.session.buffer_updated(nbytes)
        except PeerError as error:
            self.close(error)
            return
        if not self._gathers:
            self.read_done(nbytes)
        elif self.session.unpaid_messages >= self._unpaid + MANY_MESSAGES:
            self._pass_events()

    def read_done(self, nbytes: int, data_missing: int = 0, held_back: int = 0) -> None:
        """Pass to the handler the events of one read from the socket.

        Of the data of a chunk, `data_missing` bytes are to come; at most `held_back`
        received bytes are still in the transport.
        """
        if self._has_ended:
            return
        self.received += nbytes
        self.last_read = nbytes
        now = self._time()
        since, self.last_heard = now - self.last_heard, now
        if _CAN_WAIT:
            missing = data_missing or self.session.missing - held_back
            self._wait_for(missing, nbytes, since)
        self._pass_events()

    def _pass_events(self) -> None:
        events, self._events = self._events, []
        self._unpaid = self.session.unpaid_messages
        self._handler.on_events(self, events)
        self.flush()
        self._limit_messages(self.last_heard)

    @property
    def pool(self) -> BufferPool:
        """Return the buffers for chunk data that is not decrypted yet."""
        return self.session.pool

    @property
    def awaited_data(self) -> int:
        """Return how many bytes of chunk data come next, if none of them has come."""
        length = self.session.awaited_data
        return 0 if length and self.session.is_mid_frame else length

    @property
    def longest_data(self) -> int:
        """Return the most bytes of chunk data that the peer has announced."""
        return self.session.longest_data

    def data_complete(self, data: "SealedData", buffer: bytearray) -> None:
        """Take a chunk that arrived, not decrypted."""
        self._events += self.session.sealed_updated(data, buffer)

    def data_written(self) -> None:
        """Note that the peer still takes what we send."""
        if self.chunks_sent:
            self.last_upload = self._time()

    def pause_writing(self) -> None:
        """Queue further writes: the transport's buffer is full."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Write the queued data."""
        self._is_paused = False
        self.data_written()
        self._drain()
        if self.is_writable:
            self._handler.on_writable(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Report to the handler, once, why the connection ended."""
        self._transport = self._socket = None
        self._queue.clear()
        if self._pause is not None:
            self._pause.cancel()
        kinds = (PeerError, OSError)
        fault = self._error or (error if isinstance(error, kinds) else None)
        self._handler.on_lost(self, fault)

    def _limit_messages(self, now: float) -> None:
        """Pause reading from a peer that has sent too many messages."""
        try:
            pause = self.message_limit.pause(
                self.session.unpaid_messages - self.chunks_sent, now
            )
        except PeerError as error:
            self.close(error)
            return
        if pause > 0 and self._pause is None:
            loop = asyncio.get_running_loop()
            self._pause = loop.call_later(pause, self._end_pause)
            self._update_reading()

    def _end_pause(self) -> None:
        """End the pause; if the peer has closed meanwhile, drop its last messages."""
        self._pause = None
        if self._socket is not None and has_hung_up(self._socket):
            self.close()
        else:
            self._update_reading()

    def _update_reading(self) -> None:
        """Read from the socket unless the owner or the message limit paused it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._is_read_paused or self._pause is not None:
            if transport.is_reading():
                transport.pause_reading()
        else:
            transport.resume_reading()

    def _wait_for(self, size: int, nbytes: int, since: float) -> None:
        """Have the kernel wake us only once `size` bytes, or a useful part, are there.

        Otherwise a chunk on a slow line wakes us for every packet. The latest rate,
        `nbytes` in `since` seconds, limits the wait to `WAKE_TIME`: unread bytes look
        like silence to the owner of the connection.
        """
        if size < WAKE_LEAST:
            size = 1
        elif since > 0:
            size = min(size, WAKE_SIZE, max(1, int(nbytes / since * WAKE_TIME)))
        if size != self._wake_size and self._socket is not None:
            self._wake_size = size
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def _drain(self) -> None:
        """Write from the queue until the transport's buffer is full."""
        while self._queue and not self._is_paused and self._transport is not None:
            data = self._queue.popleft()
            if len(data) > WRITE_SLICE:
                view = memoryview(data)
                self._queue.appendleft(view[WRITE_SLICE:])
                data = view[:WRITE_SLICE]
            self._transport.write(data)
