"""Run the handshake over a stream of bytes that was dialled, by TCP, relay or QUIC."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, cast

from shoal.core.crypto.crossing import AnswerHandshake, DialHandshake
from shoal.core.crypto.knock import Greeted
from shoal.core.names.address import Address
from shoal.errors import PeerError
from shoal.net.socket_names import host_of
from shoal.transport.sealed.noise import NoiseConnection
from shoal.transport.sealed.proven import ProvenPeer

__all__ = ["Knocking"]

P = TypeVar("P", bound=asyncio.BufferedProtocol)


class Knocking(asyncio.BufferedProtocol):
    """Run the handshake, read no byte after it, then hand the connection over."""

    def __init__(
        self,
        address: Address,
        handshake: DialHandshake | AnswerHandshake,
        factory: Callable[[ProvenPeer], P],
        outcome: "asyncio.Future[P]",
        threads: Executor | None,
    ) -> None:
        self._address = address
        self._handshake = handshake
        self._factory = factory
        self._outcome = outcome
        self._threads = threads
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Knock."""
        # uvloop's transport is not a subclass, but has the same methods.
        self._transport = cast(asyncio.Transport, transport)
        if self._handshake.knock:
            self._transport.write(self._handshake.knock)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return room for the rest of the handshake and nothing after it."""
        self._buffer = bytearray(self._handshake.awaited)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Go on with the handshake; hand the connection over once it is complete."""
        assert self._transport is not None
        try:
            reply, greeted = self._handshake.receive(bytes(self._buffer[:nbytes]))
            if greeted is not None:
                self._hand_over(self._transport, greeted, reply)
            elif reply:
                self._transport.write(reply)
        except PeerError as error:
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Report that the connection ended before the answer was complete."""
        lost = PeerError(f"{self._address} hung up: it seems not to have this share")
        lost.__cause__ = error
        self._fail(lost)

    def _fail(self, error: PeerError) -> None:
        self.abort()
        if not self._outcome.done():
            self._outcome.set_exception(error)

    def _hand_over(
        self, transport: asyncio.Transport, greeted: Greeted, confirmation: bytes
    ) -> None:
        # No peername if the peer has gone already.
        name = transport.get_extra_info("peername") or ("", 0)
        peer = ProvenPeer(
            Address(host_of(name), name[1]),
            greeted.node_id,
            greeted.version,
            is_server=not self._handshake.is_client,
        )
        protocol = self._factory(peer)
        if confirmation:
            transport.write(confirmation)
        noise = NoiseConnection(greeted.ciphers, lambda: protocol, self._threads)
        transport.set_protocol(noise)
        noise.connection_made(transport)
        if not self._outcome.done():
            self._outcome.set_result(protocol)
