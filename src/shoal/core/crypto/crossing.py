"""Open a connection that the other end may be dialling at the same time; pure.

Two nodes behind NATs dial each other until both dials meet as one TCP connection, a
simultaneous open (RFC 9293 section 3.5): both ends have dialled and neither has
accepted. Each sends its knock, so each gets one instead of an answer. Then the end with
the smaller public key is the client, and the other one the server, also if they have
dialled for two shares that both have (docs/protocol.md, "Simultaneous open").
"""

from shoal.core.crypto.knock import (
    ANSWER_SIZE,
    CONFIRMATION_SIZE,
    KNOCK_SIZE,
    ClientHandshake,
    Greeted,
    KnockMemory,
    ServerHandshake,
)
from shoal.core.crypto.noise import KEY_SIZE, Opened, Start, open_first
from shoal.errors import NotAHolderError, SelfConnectionError

__all__ = ["AnswerHandshake", "DialHandshake"]


class DialHandshake:
    """Knock, then take the part that the first bytes of the peer leave to us.

    `knock` is to be sent first. Of what the peer sends, no more than `awaited` bytes
    may be read at a time, which go to `receive`, until that returns the peer.
    """

    def __init__(self, start: Start, node_id: bytes, knocks: KnockMemory) -> None:
        """Begin with a node id of 16 bytes.

        `knocks` are the right knocks that this node has received at any connection.
        """
        self._start = start
        self._node_id = node_id
        self._knocks = knocks
        self._client = ClientHandshake(start, node_id)
        self._server: ServerHandshake | None = None
        self.has_crossed = False
        """Whether the other end has dialled, too."""
        self._received = bytearray()
        self.knock = self._client.knock
        """The bytes to send first."""

    @property
    def is_client(self) -> bool:
        """Return True unless a simultaneous open has made us the server."""
        return self._server is None

    @property
    def awaited(self) -> int:
        """Return how many bytes of the handshake are missing."""
        size = ANSWER_SIZE if self._server is None else CONFIRMATION_SIZE
        return size - len(self._received)

    @property
    def unopened(self) -> bytes | None:
        """Return the first bytes of the peer if they may be a knock for another share.

        They may also be after `receive` has raised `NotAHolderError`: the peer may have
        sent the knock, and the first byte of its answer to ours.
        """
        if self.has_crossed or len(self._received) < KNOCK_SIZE:
            return None
        return bytes(self._received[:KNOCK_SIZE])

    def cross(self, opened: Opened) -> bytes:
        """Take the first bytes of the peer as a knock; return our reply to it.

        If the knock is for another share of ours, and we are the server after this, the
        connection belongs to that share, and otherwise to the one that was dialled for.
        """
        self.has_crossed = True
        del self._received[:KNOCK_SIZE]
        if self.knock[:KEY_SIZE] < opened.ephemeral:
            return b""
        self._server = ServerHandshake(opened, self._node_id)
        return self._server.reply

    def receive(self, data: bytes) -> tuple[bytes, Greeted | None]:
        """Return bytes to send, and the peer once it has proven that it knows the id.

        Raises as `ClientHandshake.finish` and `ServerHandshake.finish` do.
        """
        reply = b""
        self._received += data
        if len(self._received) >= KNOCK_SIZE and not self.has_crossed:
            opened = open_first(self._start, bytes(self._received[:KNOCK_SIZE]))
            if opened is not None:
                self._check(opened)
                reply = self.cross(opened)
        if self.awaited:
            return reply, None
        received = bytes(self._received)
        if self._server is not None:
            return b"", self._server.finish(received)
        greeted, confirmation = self._client.finish(received)
        return confirmation, greeted

    def _check(self, opened: Opened) -> None:
        """Raise `PeerError` for our own knock, and for one that repeats another's."""
        ours = self.knock[:KEY_SIZE]
        if opened.ephemeral == ours:
            raise SelfConnectionError("a connection to this node itself")
        if ours > opened.ephemeral and not self._knocks.spend(opened.ephemeral):
            raise NotAHolderError("a peer that repeats the knock of another")


class AnswerHandshake:
    """Wait for a knock and answer it, over a stream that the client has opened.

    It is used as `DialHandshake` is: a QUIC connection says which end is the client.
    """

    is_client = False
    knock = b""
    unopened = None
    has_crossed = False

    def __init__(self, start: Start, node_id: bytes, knocks: KnockMemory) -> None:
        """Begin as `DialHandshake` does."""
        self._start = start
        self._node_id = node_id
        self._knocks = knocks
        self._server: ServerHandshake | None = None
        self._received = bytearray()

    @property
    def awaited(self) -> int:
        """Return how many bytes of the next message are missing."""
        size = KNOCK_SIZE if self._server is None else CONFIRMATION_SIZE
        return size - len(self._received)

    def receive(self, data: bytes) -> tuple[bytes, Greeted | None]:
        """Return bytes to send, and the client once it has proven that it knows the id.

        Raises `NotAHolderError` for a wrong or repeated knock, and otherwise as
        `ServerHandshake` does.
        """
        self._received += data
        if self.awaited:
            return b"", None
        received = bytes(self._received)
        self._received.clear()
        if self._server is not None:
            return b"", self._server.finish(received)
        opened = open_first(self._start, received)
        if opened is None or not self._knocks.spend(opened.ephemeral):
            raise NotAHolderError("a client that does not know the share's id")
        self._server = ServerHandshake(opened, self._node_id)
        return self._server.reply, None
