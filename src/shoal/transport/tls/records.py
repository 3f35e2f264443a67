"""TLS records in memory: OpenSSL between two buffers instead of on a socket.

`Records` is the only code that calls OpenSSL. It decrypts straight into the reader's
buffer. OpenSSL is fed in bounded pieces, because it never frees the largest amount of
memory that it has used for a connection.
"""

import ssl
from collections import deque

from shoal.core.limits import OverheadLimit
from shoal.errors import PeerError, ProtocolError

__all__ = ["RECORD_SIZE", "Data", "Records"]

RECORD_SIZE = 5 + 16 * 1024 + 256
"""Bytes of the longest TLS record, header included (RFC 8446 section 5.2)."""
FEED_SIZE = 256 * 1024  # bytes passed to OpenSSL at once
ENCRYPT_SLICE = 256 * 1024  # bytes encrypted at once

Data = bytes | bytearray | memoryview

_NOTHING = memoryview(b"")


class Records:
    """Hold the TLS state of one connection."""

    def __init__(self, context: ssl.SSLContext, *, is_server: bool) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._received = _NOTHING  # not passed to OpenSSL yet
        self._pending = 0  # bytes in OpenSSL, neither payload nor overhead so far
        self.ssl = context.wrap_bio(self._incoming, self._outgoing, is_server)
        """OpenSSL's object, for the peer's certificate."""
        self.is_open = False
        """Whether the handshake is done."""
        self.has_ended = False
        """Whether the peer has ended its stream (close_notify)."""
        self.overhead = OverheadLimit()
        """Limit of the peer's bytes since the handshake that carry no payload."""

    def receive(self, received: memoryview) -> None:
        """Use `received`, which must not change until `keep` or until it is used up."""
        self._received = received

    def keep(self) -> None:
        """Copy the unused rest of the received bytes."""
        self._feed(self._received)
        self._received = _NOTHING

    def _feed(self, received: memoryview) -> None:
        if received:
            self._incoming.write(received)
            self._pending += len(received)

    def shake_hands(self) -> bytes:
        """Continue the handshake; return the bytes to send. `is_open` shows its end.

        Raises `PeerError` if it failed. No alert is sent then: a peer that does not
        speak the protocol gets no answer.
        """
        self.keep()
        try:
            self.ssl.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read()
        except ssl.SSLError as error:
            reason = error.reason or str(error)
            raise PeerError(f"the TLS handshake failed: {reason}") from error
        if self.ssl.version() != "TLSv1.3" or self.ssl.session_reused:
            # docs/protocol.md, "Sealed transport": TLS 1.3 only, no resumption.
            raise ProtocolError("a TLS connection that is not 1.3, or not a new one")
        self.is_open = True
        self._pending = 0
        return self._outgoing.read()

    def fill(self, buffer: memoryview) -> int:
        """Decrypt into `buffer`; return how many bytes were written to it.

        It is not filled if the received bytes are used up or the peer has ended the
        stream. Raises `ssl.SSLError` for a record that cannot be decrypted, and
        `ProtocolError` for too many records without payload.
        """
        size, filled = len(buffer), 0
        read, incoming = self.ssl.read, self._incoming
        while filled < size:
            # Reading when no record is complete is expensive: OpenSSL raises and
            # formats an exception. Feeding it while it holds much moves all of that.
            if self._received and incoming.pending < RECORD_SIZE:
                self._feed(self._received[:FEED_SIZE])
                self._received = self._received[FEED_SIZE:]
            try:
                # With a buffer it returns a number, contrary to its annotation.
                count: int = read(size - filled, buffer[filled:])  # type: ignore
            except ssl.SSLWantReadError:
                self._count_overhead()
                if self._received:
                    continue  # those records were TLS's own
                break
            if not count:
                self.has_ended = True
                break
            self._pending -= count
            filled += count
            if filled < size and not self._received and not incoming.pending:
                # A read ends with its record, so every record is used up.
                self._count_overhead()
                break
        if self.overhead.level:
            self.overhead.on_payload(filled)
        return filled

    def _count_overhead(self) -> None:
        """Count the bytes that OpenSSL consumed without returning payload."""
        pending, self._pending = self._pending, 0
        self.overhead.add(pending)

    def encrypt(self, backlog: deque[memoryview]) -> tuple[bytes, int]:
        """Encrypt a slice of `backlog`; return its records and its size in bytes."""
        size = 0
        while backlog and size < ENCRYPT_SLICE:
            data = backlog.popleft()
            room = ENCRYPT_SLICE - size
            if len(data) > room:
                backlog.appendleft(data[room:])
                data = data[:room]
            self.ssl.write(data)
            size += len(data)
        return self._outgoing.read(), size

    def end(self) -> bytes:
        """Return the record that ends our stream (close_notify)."""
        try:
            self.ssl.unwrap()
        except ssl.SSLError:
            pass  # the record is written; the peer's answer to it is not needed
        return self._outgoing.read()

    def answers(self) -> bytes:
        """Return TLS's own answers to decrypted records, such as key updates."""
        return self._outgoing.read() if self._outgoing.pending else b""
