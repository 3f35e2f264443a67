"""TLS records through memory: OpenSSL with bytes on both sides and no socket.

`Records` is the one place that calls OpenSSL. It decrypts straight into the memory
of whoever wants the bytes. OpenSSL gets them in bounded pieces, because it
keeps as much memory for a connection as it ever held for it at once.
"""

import ssl
from collections import deque

from shoal.core.limits import OverheadLimit
from shoal.errors import PeerError, ProtocolError

__all__ = ["RECORD_SIZE", "Data", "Records"]

RECORD_SIZE = 5 + 16 * 1024 + 256
"""Bytes of the longest record, RFC 8446 section 5.2."""
FEED_SIZE = 256 * 1024  # bytes given to OpenSSL at once
ENCRYPT_SLICE = 256 * 1024  # bytes encrypted at once

Data = bytes | bytearray | memoryview

_NOTHING = memoryview(b"")


class Records:
    """Hold the TLS of one connection."""

    def __init__(self, context: ssl.SSLContext, *, is_server: bool) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._received = _NOTHING  # not given to OpenSSL yet
        self._taken = 0  # bytes given to OpenSSL that are not accounted for
        self.ssl = context.wrap_bio(self._incoming, self._outgoing, is_server)
        """OpenSSL's side of it, to be asked for certificates and the like."""
        self.is_open = False
        """Whether the handshake is done."""
        self.has_ended = False
        """Whether the peer has said that nothing follows."""
        self.overhead = OverheadLimit()
        """What the peer sent since the handshake that carried nothing."""

    def receive(self, received: memoryview) -> None:
        """Take what came; it may not change until `keep` or all of it is used."""
        self._received = received

    def keep(self) -> None:
        """Copy what is left of what was received."""
        self._give(self._received)
        self._received = _NOTHING

    def _give(self, received: memoryview) -> None:
        if received:
            self._incoming.write(received)
            self._taken += len(received)

    def shake_hands(self) -> bytes:
        """Go on with the handshake; return what to send, look at `is_open`.

        Raises `PeerError` when it failed. No alert is sent then: who does not
        know the protocol gets no answer.
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
            raise ProtocolError("a TLS connection that is not 1.3, or not a new one")
        self.is_open = True
        self._taken = 0
        return self._outgoing.read()

    def fill(self, buffer: memoryview) -> int:
        """Decrypt into `buffer`; return how many bytes of it are full.

        Not all of it is full when what was received has been used up, or the peer
        has ended the stream. Raises `ssl.SSLError` for what cannot be decrypted, and
        `ProtocolError` for too much that has nothing in it.
        """
        size, filled = len(buffer), 0
        read, incoming = self.ssl.read, self._incoming
        while filled < size:
            # Asking OpenSSL in vain is dear: an exception with its text. Giving it
            # more while it has much moves all of that.
            if self._received and incoming.pending < RECORD_SIZE:
                self._give(self._received[:FEED_SIZE])
                self._received = self._received[FEED_SIZE:]
            try:
                # With a buffer it returns a number, whatever its type says.
                count: int = read(size - filled, buffer[filled:])  # type: ignore
            except ssl.SSLWantReadError:
                self._count_taken()
                if self._received:
                    continue  # what was there was of TLS itself
                break
            if not count:
                self.has_ended = True
                break
            self._taken -= count
            filled += count
            if filled < size and not self._received and not incoming.pending:
                # A read ends with its record, so all of it is used up.
                self._count_taken()
                break
        self.overhead.on_payload(filled)
        return filled

    def _count_taken(self) -> None:
        """Count what OpenSSL took and gave nothing for."""
        taken, self._taken = self._taken, 0
        self.overhead.add(taken)

    def encrypt(self, backlog: deque[memoryview]) -> tuple[bytes, int]:
        """Take a slice from `backlog`; return its records, and how long it was."""
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

    def say_end(self) -> bytes:
        """Return what tells the peer that nothing follows."""
        try:
            self.ssl.unwrap()
        except ssl.SSLError:
            pass  # it has been said; what the peer says to it is of no interest
        return self._outgoing.read()

    def answers(self) -> bytes:
        """Return what TLS itself has to say to what was decrypted."""
        return self._outgoing.read() if self._outgoing.pending else b""
