"""One TCP connection: the thin shell that moves bytes for a session.

A `Connection` owns its transport and nothing else. What its session makes of the
bytes goes to its `Handler`, which decides; the connection never does. An error in
what the peer sent ends the connection here and is told to the handler once.
"""

import asyncio
import asyncio.trsock
import socket
import sys
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Generic, Protocol, TypeVar, cast

from shoal.core.limits.chatter import Chatter
from shoal.core.names.address import Address
from shoal.core.session.session import Event, Session
from shoal.errors import PeerError
from shoal.transport.liveness import has_hung_up

__all__ = ["Connection", "Handler"]

S = TypeVar("S", bound=Session)

WRITE_HIGH = 256 * 1024  # bytes waiting in the transport at which writing pauses
WRITE_LOW = 64 * 1024  # bytes at which it goes on
WRITE_SLICE = 256 * 1024  # bytes written at once of something shared and large
WAKE_SIZE = 256 * 1024  # bytes of a frame to wait for at most before looking at them
WAKE_TIME = 0.1  # seconds to wait for them at the most recent rate
WAKE_LEAST = 4 * 1024  # bytes; for fewer it is not worth asking
AHEAD_SIZE = 512 * 1024  # bytes that a look at the socket finds when we are behind
_CAN_WAIT = sys.platform == "linux"  # elsewhere polling takes no notice


class Handler(Protocol[S]):
    """Decide what happens with a connection; called on the event loop only."""

    def on_connected(self, connection: "Connection[S]") -> None:
        """Take note of a connection that now stands."""

    def on_events(self, connection: "Connection[S]", events: list[Event]) -> None:
        """Act on what the peer said."""

    def on_writable(self, connection: "Connection[S]") -> None:
        """Write more, if there is more: what was written has drained."""

    def on_lost(
        self, connection: "Connection[S]", error: PeerError | OSError | None
    ) -> None:
        """Take note that a connection has ended, and of whose fault it was."""


class Connection(asyncio.BufferedProtocol, Generic[S]):
    """Join a session to a socket."""

    def __init__(self, session: S, handler: Handler[S]) -> None:
        self.session = session
        self.address = Address("", 0)
        """Of the peer, as seen on the socket."""
        self.last_heard = 0.0
        """When the last bytes came, on the loop's clock; when it stood, at first."""
        self.last_taken = -inf
        """When the peer last took some of a chunk, on the loop's clock."""
        self.since = 0.0
        """When the connection stood, on the loop's clock."""
        self.received = 0
        """Bytes."""
        self.found = 0
        """Bytes that the last look at the socket found."""
        self.sent = 0
        """Bytes given to the socket or its queue."""
        self.answered = 0
        """Chunks that were given to the peer; each pays for a message of its."""
        self.chatter = Chatter()
        """What the peer says beside chunks."""
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._socket: asyncio.trsock.TransportSocket | None = None
        self._queue: deque[bytes | memoryview] = deque()
        self._is_paused = False
        self._has_ended = False
        self._error: PeerError | None = None
        self._time = asyncio.get_running_loop().time
        self._wake_size = 1
        self._held_back = 0
        self._gathers = False
        self._pause: asyncio.TimerHandle | None = None
        self._is_wanted = True

    @property
    def is_ahead(self) -> bool:
        """Say whether the peer sends more than we can take: much waited for us."""
        return self.found >= AHEAD_SIZE

    @property
    def is_writable(self) -> bool:
        """Say whether more may be written without piling up."""
        return not (self._is_paused or self._queue or self._transport is None)

    @property
    def is_drained(self) -> bool:
        """Say whether the system has taken all that was written."""
        if self._transport is None:
            return True
        return not self._queue and not self._transport.get_write_buffer_size()

    @property
    def is_closing(self) -> bool:
        """Say whether the connection has ended, or we have ended it.

        Who says that nothing follows and takes what is owed slowly is still here.
        """
        return self._transport is None or self._has_ended

    def write(self, data: bytes | memoryview) -> None:
        """Send `data` after all that was written before."""
        if self._transport is None or self._transport.is_closing():
            return
        self.sent += len(data)
        if self._is_paused or self._queue or len(data) > WRITE_SLICE:
            self._queue.append(data)
            self._drain()
        else:
            self._transport.write(data)

    def writelines(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send `parts` one after the other, as one where that takes no copy.

        Each time something is sent the peer wakes up: for a header it would in vain.
        """
        if (
            not self._gathers
            or not self.is_writable
            or max(map(len, parts)) > WRITE_SLICE
        ):
            for part in parts:
                self.write(part)
        elif self._transport is not None and not self._transport.is_closing():
            self.sent += sum(map(len, parts))
            self._transport.writelines(parts)

    def flush(self) -> None:
        """Write what the session wants said."""
        parts = self.session.data_to_send()
        if len(parts) == 1:
            self.write(parts[0])
        elif parts:
            self.write(b"".join(parts))

    def on_answered(self, chunks: int) -> None:
        """Note that so many chunks are being given to the peer."""
        self.answered += chunks
        self.last_taken = self._time()

    def acknowledge_now(self) -> None:
        """Have the kernel acknowledge what came at once, where it can.

        A Node client of the workshop writes each frame in pieces and without
        TCP_NODELAY: its next piece waits for this, 40 ms if nobody hurries.
        """
        if self._socket is not None and hasattr(socket, "TCP_QUICKACK"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def close(self, error: PeerError | None = None) -> None:
        """End the connection at once; `error` says what the peer did wrong."""
        if self._transport is not None and not self._has_ended:
            self._has_ended = True
            self._error = error
            self._queue.clear()
            self._transport.abort()

    def pause_reading(self) -> None:
        """Take no more from the peer until `resume_reading`."""
        self._is_wanted = False
        self._read_or_not()

    def resume_reading(self) -> None:
        """Take from the peer again, once it has not said too much."""
        self._is_wanted = True
        self._read_or_not()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the conversation."""
        # Not of that class where the loop is uvloop's, but all that it has to be.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        peer = transport.get_extra_info("peername") or ("", 0)
        self.address = Address(peer[0], peer[1])
        self.since = self.last_heard = self._time()
        self._socket = transport.get_extra_info("socket")
        assert self._socket is not None
        self._held_back = transport.get_extra_info("held_back", 0)
        self._gathers = transport.get_extra_info("gathers", False)
        # Without it every small message waits for a delayed acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._handler.on_connected(self)
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the loop may receive into."""
        return self.session.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Hand what came to the session, and what it means to the handler."""
        self.received += nbytes
        assert self._transport is not None
        self.found = self._transport.get_extra_info("received", nbytes)
        now = self._time()
        since, self.last_heard = now - self.last_heard, now
        try:
            events = self.session.buffer_updated(nbytes)
        except PeerError as error:
            self.close(error)
            return
        if _CAN_WAIT:
            self._wait_for_frame(nbytes, since)
        self._handler.on_events(self, events)
        self.flush()
        self._bound_chatter(now)

    def pause_writing(self) -> None:
        """Hold back: the socket takes no more for now."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on with what was held back."""
        self._is_paused = False
        if self.answered:
            self.last_taken = self._time()
        self._drain()
        if self.is_writable:
            self._handler.on_writable(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the handler, once, why it ended."""
        self._transport = self._socket = None
        self._queue.clear()
        if self._pause is not None:
            self._pause.cancel()
        fault = self._error or (error if isinstance(error, OSError) else None)
        self._handler.on_lost(self, fault)

    def _bound_chatter(self, now: float) -> None:
        """Listen to a peer that has said too much only after a while."""
        try:
            pause = self.chatter.pause(self.session.beside - self.answered, now)
        except PeerError as error:
            self.close(error)
            return
        if pause > 0 and self._pause is None:
            loop = asyncio.get_running_loop()
            self._pause = loop.call_later(pause, self._listen_again)
            self._read_or_not()

    def _listen_again(self) -> None:
        """End the pause; who has left meanwhile is not heard out."""
        self._pause = None
        if self._socket is not None and has_hung_up(self._socket):
            self.close()
        else:
            self._read_or_not()

    def _read_or_not(self) -> None:
        """Read from the socket if what comes is wanted and not too much."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self._is_wanted or self._pause is not None:
            if transport.is_reading():
                transport.pause_reading()
        else:
            transport.resume_reading()

    def _wait_for_frame(self, nbytes: int, since: float) -> None:
        """Sleep until as much of a frame has come as is needed anyway.

        A chunk that comes slowly would else wake us for every packet. What came
        lately, `nbytes` in `since` seconds, says how long the sleep may be: bytes
        that nobody looks at are taken for silence.
        """
        size = self.session.missing - self._held_back
        if size < WAKE_LEAST:
            size = 1
        elif since > 0:
            size = min(size, WAKE_SIZE, max(1, int(nbytes / since * WAKE_TIME)))
        if size != self._wake_size and self._socket is not None:
            self._wake_size = size
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def _drain(self) -> None:
        """Write from the queue while the socket takes it."""
        while self._queue and not self._is_paused and self._transport is not None:
            data = self._queue.popleft()
            if len(data) > WRITE_SLICE:
                view = memoryview(data)
                self._queue.appendleft(view[WRITE_SLICE:])
                data = view[:WRITE_SLICE]
            self._transport.write(data)
