"""Exchange both proofs over TLS, then hand the connection to its next protocol.

`ProvenProtocol` has a TLS connection from its handshake to the last proof
(docs/protocol.md, "Sealed transport"). It reads exactly the bytes of the proofs, so
bytes that a peer sends right after them are still in the connection when it changes
hands: nothing is copied or lost. If either proof fails, the connection ends and only
the code that started it is told.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias, cast

from shoal.core.crypto.proof import CLIENT_PROOF_SIZE, Proof
from shoal.core.names.address import Address
from shoal.errors import PeerError
from shoal.transport.liveness import watch_silence

__all__ = ["Dial", "Factory", "ProvenPeer", "ProvenProtocol"]


class ProvenPeer(NamedTuple):
    """Identify the other end of a connection whose proofs have passed."""

    address: Address
    """The peer's address on the socket; its listening port only if we dialled."""
    node_id: bytes
    """16 bytes: a claim that every holder can copy."""
    version: int
    """Protocol version that both ends speak."""


Factory: TypeAlias = Callable[[ProvenPeer], asyncio.BufferedProtocol]
"""Make the protocol that takes the connection; may raise `PeerError` to refuse it."""
Dial: TypeAlias = Callable[[Address, Factory], Awaitable[object]]
"""Connect a factory's protocol to an address; raises `PeerError`."""


class ProvenProtocol(asyncio.BufferedProtocol):
    """Let both ends prove that they know the id, then hand the connection over.

    The contract is the same for a client and a server:

    1. `begin` is called once the TLS handshake is done and returns the proof to run.
    2. When the peer's proof has passed, `on_proven` returns the next protocol. Our
       own proof, if not sent yet, is sent only after that.
    3. The next protocol becomes the transport's, and its `connection_made` is
       called with that transport. From then on only the next protocol is called, from
       the first byte after the proofs to `connection_lost`.
    4. Otherwise `on_failed` is called, once, after the connection has ended: with the
       peer's fault, with an `OSError`, or with None if the other end closed. The next
       protocol, if one was made at all, is never given the connection.
    """

    def __init__(
        self,
        begin: Callable[[ssl.SSLObject], Proof],
        on_proven: Factory,
        on_failed: Callable[[Exception | None], None],
    ) -> None:
        self._begin = begin
        self._on_proven = on_proven
        self._on_failed = on_failed
        self._buffer = memoryview(bytearray(CLIENT_PROOF_SIZE))
        self._error: PeerError | None = None
        self._transport: asyncio.Transport
        self._proof: Proof

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the proofs."""
        # uvloop's transport is not a subclass, but has the same methods.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        try:
            self._proof = self._begin(transport.get_extra_info("ssl_object"))
        except PeerError as error:
            self._fail(error)
            return
        transport.write(self._proof.data_to_send())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return room for the next bytes of the proofs and nothing after them."""
        return self._buffer[: self._proof.needed]

    def buffer_updated(self, nbytes: int) -> None:
        """Continue the proofs."""
        try:
            # If the peer's proof is wrong, this raises before we send any more.
            self._proof.receive(self._buffer[:nbytes])
            if self._proof.is_done:
                self._hand_over()
            else:
                self._transport.write(self._proof.data_to_send())
        except PeerError as error:
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Report that the connection ended before both proofs had passed."""
        self._on_failed(self._error or error)

    def _hand_over(self) -> None:
        transport, proof = self._transport, self._proof
        # No peername if the peer has gone already.
        host, port = (transport.get_extra_info("peername") or ("", 0))[:2]
        peer = ProvenPeer(Address(host, port), proof.peer_node_id, proof.version)
        protocol = self._on_proven(peer)
        transport.write(proof.data_to_send())
        watch_silence(transport)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def _fail(self, error: PeerError) -> None:
        self._error = error
        self._transport.abort()
