"""Make a QUIC connection an asyncio transport: one stream of bytes, as TCP is.

qh3 does no I/O: datagrams go in with the time, and datagrams, events and the time of
the next call come out. `QuicStream` has one connection and its only stream, number 0,
which the client opens. Where the kernel holds data back for TCP, this class does: while
its protocol reads nothing, it takes no events from qh3, which then grants the peer no
more than `WINDOW`; and the protocol is paused while more than `SEND_ROOM` bytes wait.
"""

import asyncio
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, cast

from qh3.quic.connection import QuicConnection, QuicConnectionError
from qh3.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StreamDataReceived,
    StreamReset,
)

from shoal.core.names.address import Address
from shoal.transport.liveness import SILENCE_LIMIT
from shoal.transport.quic.connection import Connection, accepting
from shoal.transport.quic.packets import begins, destination_of

__all__ = ["QuicStream", "Send"]

Send = Callable[[list[bytes]], None]
"""Send datagrams to the peer."""

STREAM = 0  # the first stream that a client opens
# What TCP would have in the buffer of the socket.
SEND_ROOM = 512 * 1024  # bytes that may wait before the protocol is paused
# On a slow line every packet would wake the protocol, as SO_RCVLOWAT avoids for TCP.
FEED_PERIOD = 0.002  # seconds between two calls of the protocol at least
OPEN_TIME = 10.0  # seconds for the stream to begin
CLOSE_TIME = 15.0  # seconds for the peer to take the last bytes
PING_AFTER = SILENCE_LIMIT / 2  # seconds of silence; NATs forget after 30


class QuicStream(asyncio.Transport):
    """The stream of one connection with the peer at one address."""

    def __init__(
        self,
        protocol: asyncio.BufferedProtocol,
        address: Address,
        send: Send,
        on_end: Callable[[], None],
        *,
        is_client: bool,
    ) -> None:
        """Connect, or wait for the peer to; then call `protocol.connection_made`.

        `on_end` is called when no more datagrams are awaited.
        """
        super().__init__()
        self._protocol = protocol
        self._address = address
        self._send = send
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._is_client = is_client
        self._quic: Connection | None = None
        self._is_open = self._is_closing = self._has_ended = False
        self._is_reading = True
        self._is_feeding = False
        self._received: list[bytes] = []  # not passed to the protocol yet
        self._fed_at = -inf
        self._feeding: asyncio.TimerHandle | None = None
        self._has_eof = False
        self._is_paused = False
        self._limits = (16 * 1024, 64 * 1024)
        self._heard_at = self._loop.time()
        self._flushing: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        # No protocol that could end the stream has it until it is open.
        self._closing_at = self._loop.time() + OPEN_TIME
        if is_client:
            self._quic = Connection()
            self._quic.connect(address, self._loop.time())
            self._flush_soon()
        self._set_timer(self._loop.time())

    # Called by the owner of the socket.

    def receive(self, data: bytes, segment: int) -> None:
        """Take datagrams of the peer, each of `segment` bytes but for the last."""
        if self._has_ended:
            return
        now = self._heard_at = self._loop.time()
        if self._quic is None:
            self._quic = accepting(data[:segment])
        try:
            if self._quic is not None:
                self._quic.receive_gro_buffer(data, segment, self._address, now)
        except (QuicConnectionError, ValueError, AssertionError) as error:
            self._end(OSError(f"a datagram that is not QUIC: {error}"))
            return
        self._take_events()
        self._flush()

    def takes(self, datagram: bytes) -> bool:
        """Return True if a datagram of the peer is for this connection."""
        quic = self._quic
        return quic is not None and destination_of(datagram) in quic.ids

    def may_begin(self, datagram: bytes) -> bool:
        """Return True if a datagram may begin this connection, of which we wait."""
        is_awaited = self._quic is None and not self._has_ended
        return is_awaited and not self._is_client and begins(datagram)

    @property
    def is_connecting(self) -> bool:
        """Return True if it is ours to begin, and the peer has not answered yet."""
        return self._is_client and not self._is_open

    @property
    def has_heard(self) -> bool:
        """Return True once the peer has begun, or answered, the handshake of QUIC."""
        return self._is_open or (not self._is_client and self._quic is not None)

    # Called by the protocol.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return `peername`; there is no socket of this connection alone."""
        return tuple(self._address) if name == "peername" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Pass what arrives to another protocol."""
        self._protocol = cast(asyncio.BufferedProtocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    def is_closing(self) -> bool:
        """Return True if the stream has ended or is about to."""
        return self._is_closing

    def is_reading(self) -> bool:
        """Return True if received bytes are passed on."""
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        """Pass nothing on, and grant the peer no more bytes."""
        self._is_reading = False
        if self._quic is not None and self._is_open:
            self._quic.is_held = True

    def resume_reading(self) -> None:
        """Pass on what has arrived meanwhile."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._loop.call_soon(self._continue_reading)

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Pause the protocol above `high` waiting bytes, resume it at `low`."""
        high = 64 * 1024 if high is None else high
        self._limits = (high // 4 if low is None else low, high)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait, beyond those that a socket would hold."""
        if self._quic is None or self._has_ended:
            return 0
        return max(0, self._quic.get_send_buffer_size(STREAM) - SEND_ROOM)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; it is copied."""
        if self._is_closing or self._quic is None or not data:
            return
        self._call(lambda quic: quic.send_stream_data(STREAM, data))
        self._flush_soon()
        if self.get_write_buffer_size() > self._limits[1] and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send several buffers."""
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        """Return False: the protocols above end both directions at once."""
        return False

    def close(self) -> None:
        """End the stream once the peer has all written bytes."""
        if self._is_closing:
            return
        self._is_closing = True
        if not self._is_open:
            self._end(None)
            return
        self._call(lambda quic: quic.send_stream_data(STREAM, b"", end_stream=True))
        self._closing_at = self._loop.time() + CLOSE_TIME
        if self._quic is not None:
            self._quic.release()
        self._flush_soon()

    def abort(self) -> None:
        """End the stream at once."""
        self._end(None)

    # Events of qh3.

    def _call(self, work: Callable[[Connection], None]) -> None:
        """Let qh3 do something; end the stream if it cannot."""
        if self._quic is not None and not self._has_ended:
            try:
                work(self._quic)
            except (QuicConnectionError, ValueError, AssertionError) as error:
                self._end(OSError(str(error)))

    def _take_events(self) -> None:
        """Act on all events, then pass the received bytes to the protocol."""
        ended: QuicEvent | None = None
        while self._quic is not None and (event := self._quic.next_event()):
            if isinstance(event, StreamDataReceived) and event.stream_id == STREAM:
                self._received.append(event.data)
                self._has_eof |= event.end_stream
                self._open()
            elif isinstance(event, HandshakeCompleted):
                if self._is_client:
                    self._open()
            elif isinstance(event, StreamDataReceived | StreamReset):
                ended = event  # the peer does not do as agreed
            elif isinstance(event, ConnectionTerminated):
                ended = event
        if ended is not None:
            self._feed()
            self._end(None)
        elif self._loop.time() - self._fed_at >= FEED_PERIOD:
            self._feed()
        elif self._feeding is None and self._received:
            at = self._fed_at + FEED_PERIOD
            self._feeding = self._loop.call_at(at, self._feed)

    def _open(self) -> None:
        """Tell the protocol that it can write."""
        if not self._is_open and not self._has_ended:
            self._is_open, self._closing_at = True, inf
            self._protocol.connection_made(self)

    def _feed(self) -> None:
        """Pass received bytes to the protocol, which may change meanwhile."""
        if self._feeding is not None:
            self._feeding.cancel()
            self._feeding = None
        if self._is_feeding or not (self._received or self._has_eof):
            return
        self._is_feeding, self._fed_at = True, self._loop.time()
        view, begin = memoryview(b"".join(self._received)), 0
        self._received.clear()
        try:
            while begin < len(view) and self.is_reading():
                buffer = memoryview(cast(Any, self._protocol.get_buffer(-1)))
                count = min(len(buffer), len(view) - begin)
                buffer[:count] = view[begin : begin + count]
                begin += count
                self._protocol.buffer_updated(count)
        finally:
            self._is_feeding = False
        if begin < len(view) and not self._is_closing:
            self._received.insert(0, bytes(view[begin:]))
        if self._has_eof and not self._received and self.is_reading():
            self._protocol.eof_received()
            self.close()

    def _continue_reading(self) -> None:
        if self.is_reading() and self._quic is not None:
            self._call(Connection.release)
            self._fed_at = -inf
            self._take_events()
            self._flush()

    # Sending, and time.

    def _flush_soon(self) -> None:
        if self._flushing is None and not self._has_ended:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what qh3 has to send now, and call it again when it is time."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        quic = self._quic
        if quic is None or self._has_ended:
            return
        now = self._loop.time()
        self._send_due(now)
        self._set_timer(now)
        if self._is_paused and self.get_write_buffer_size() <= self._limits[0]:
            self._is_paused = False
            if not self._is_closing:
                self._protocol.resume_writing()

    def _send_due(self, now: float) -> None:
        datagrams: list[bytes] = []
        self._call(
            lambda quic: datagrams.extend(
                each for each, _ in quic.datagrams_to_send(now)
            )
        )
        if datagrams:
            self._send(datagrams)

    def _set_timer(self, now: float) -> None:
        if self._has_ended:
            return
        due = self._closing_at
        if self._quic is not None:
            if (timer := self._quic.get_timer()) is not None:
                due = min(due, timer)
            due = min(due, max(self._heard_at + PING_AFTER, now + 1.0))
        if self._timer is not None:
            if self._timer_at == due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        quic, now = self._quic, max(self._timer_at, self._loop.time())
        if now >= self._closing_at:
            self._end(None)
        if quic is None or self._has_ended:
            return
        if (due := quic.get_timer()) is not None and due <= now:
            self._call(lambda quic: quic.handle_timer(now))
        if now >= self._heard_at + PING_AFTER and self._is_open:
            self._call(lambda quic: quic.send_ping(0))
        self._take_events()
        self._flush()

    def _end(self, error: OSError | None) -> None:
        """End the connection, and tell the peer and the protocol."""
        if self._has_ended:
            return
        self._is_closing = True
        quic, now = self._quic, self._loop.time()
        if quic is not None:
            self._call(QuicConnection.close)
            self._send_due(now)
        self._has_ended = True
        for each in (self._timer, self._flushing, self._feeding):
            if each is not None:
                each.cancel()
        self._quic = self._timer = self._flushing = self._feeding = None
        on_end, self._on_end = self._on_end, _nothing
        self._loop.call_soon(self._tell_end, error)
        on_end()

    def _tell_end(self, error: OSError | None) -> None:
        protocol, self._protocol = self._protocol, asyncio.BufferedProtocol()
        if self._is_open:
            protocol.connection_lost(error)
        else:
            protocol.connection_lost(error or OSError("no QUIC connection was made"))


def _nothing() -> None:
    pass
