"""Both proofs over a TLS connection, and who gets the connection after them.

`ProvenProtocol` has a TLS connection from its handshake to the end of the proofs.
It takes from TLS exactly the bytes that the proofs consist of, so what a peer
sends right behind them is still in the connection when it changes hands: nothing
is copied and nothing can be lost. If either proof fails, the connection ends and
nobody ever hears of it but whoever began it.
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
    """Say who is at the other end of a connection whose proofs have passed."""

    address: Address
    """Where the peer is, as seen on the socket; its own port only if we dialled."""
    node_id: bytes
    """16 bytes: a claim that every holder can copy."""
    version: int
    """Of the protocol, as both ends speak it."""


Factory: TypeAlias = Callable[[ProvenPeer], asyncio.BufferedProtocol]
"""Make what has the connection from now on; may raise `PeerError` to refuse it."""
Dial: TypeAlias = Callable[[Address, Factory], Awaitable[object]]
"""Connect what the factory makes to an address; raises `PeerError`."""


class ProvenProtocol(asyncio.BufferedProtocol):
    """Let both ends prove that they know the id; then hand the connection over.

    The contract, for an end that is a client as for one that is a server:

    1. `begin` is called once TLS stands and returns the proof to go through.
    2. When the peer's proof has passed, `on_proven` returns the next protocol. Our
       own proof, if it is still due, is sent only after that.
    3. The next protocol becomes the transport's, and its `connection_made` is
       called with that transport. From then on it alone is called, for the first
       byte after the proofs as for `connection_lost`.
    4. When it does not come to that, `on_failed` is called, once, after the
       connection has ended: with what the peer did wrong, with an `OSError`, or
       with None when the other end closed. Then the next protocol, if there is
       one at all, never hears of the connection.
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
        # Not of that class where the loop is uvloop's, but all that it has to be.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        try:
            self._proof = self._begin(transport.get_extra_info("ssl_object"))
        except PeerError as error:
            self._fail(error)
            return
        transport.write(self._proof.data_to_send())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return room for what the proofs need next and for nothing behind it."""
        return self._buffer[: self._proof.needed]

    def buffer_updated(self, nbytes: int) -> None:
        """Go on with the proofs."""
        try:
            self._proof.receive(self._buffer[:nbytes])
            if self._proof.is_done:
                self._hand_over()
            else:
                self._transport.write(self._proof.data_to_send())
        except PeerError as error:
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever began this that it came to nothing."""
        self._on_failed(self._error or error)

    def _hand_over(self) -> None:
        transport, proof = self._transport, self._proof
        # None for a peer that has gone already.
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
