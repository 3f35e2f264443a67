"""Run the handshake over a stream of bytes that was dialled, by TCP, relay or QUIC."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, cast

from shoal.core.crypto.crossing import AnswerHandshake, DialHandshake
from shoal.core.crypto.knock import Greeted
from shoal.core.crypto.noise import Opened
from shoal.core.names.address import Address
from shoal.errors import NotAHolderError, PeerError
from shoal.net.socket_names import host_of
from shoal.transport.sealed.noise import NoiseConnection
from shoal.transport.sealed.proven import Factory, ProvenPeer

__all__ = ["DIAL_TIME", "REST_TIME", "Knocking"]

P = TypeVar("P", bound=asyncio.BufferedProtocol)

# docs/protocol.md, "Sealed transport", allows 10 s up to the confirmation.
DIAL_TIME = 10.0  # seconds
REST_TIME = 1.0  # seconds between the first bytes of an answer, 48, and the last


class Knocking(asyncio.BufferedProtocol):
    """Run the handshake, read no byte after it, then hand the connection over."""

    def __init__(
        self,
        address: Address,
        handshake: DialHandshake | AnswerHandshake,
        factory: Callable[[ProvenPeer], P],
        outcome: "asyncio.Future[P]",
        threads: Executor | None,
        on_unopened: "Callable[[Knocking, bytes], None] | None" = None,
    ) -> None:
        self._address = address
        self._handshake = handshake
        self._factory: Callable[[ProvenPeer], Any] = factory
        self._outcome = outcome
        self._threads = threads
        self._on_unopened = on_unopened
        self._is_asking = False  # `on_unopened` was called
        self._refused: NotAHolderError | None = None  # unless a share has the knock
        self._deadline: asyncio.TimerHandle | None = None
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
                return
            self._transport.write(reply)
        except NotAHolderError as error:
            if self._handshake.unopened is None or self._on_unopened is None:
                self._fail(error)
                return
            self._transport.pause_reading()
            self._refused = error
        except PeerError as error:
            self._fail(error)
            return
        knock = self._handshake.unopened
        if knock is not None and self._on_unopened and not self._is_asking:
            self._is_asking = True
            self._on_unopened(self, knock)

    def on_no_share(self) -> None:
        """Note that the first bytes of the peer are no knock for a share of this node.

        Either they are the beginning of its answer, or it has dialled for a share that
        we do not have, and may wait for our answer as long as we wait for its own.
        """
        self._on_unopened = None
        if self._refused is not None:
            self._fail(self._refused)
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(REST_TIME, self.abort)

    def cross(self, opened: Opened, factory: Factory) -> None:
        """Go on with a peer that has dialled for another share of this node.

        If we are the server now, the connection gets the protocol that the `factory` of
        that share makes, and the dial has failed.
        """
        handshake, transport = self._handshake, self._transport
        if isinstance(handshake, AnswerHandshake) or transport is None:
            return
        if handshake.unopened is None:
            return
        try:
            transport.write(handshake.cross(opened))
        except PeerError as error:
            self._fail(error)
            return
        if self._refused is not None:
            self._refused = None
            transport.resume_reading()
        if not self._handshake.is_client:
            self._factory = lambda peer: factory(peer._replace(is_server=False))
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(DIAL_TIME, self.abort)
            problem = f"{self._address} dialled us at the same time, for another share"
            self._report(PeerError(problem))

    def connection_lost(self, error: Exception | None) -> None:
        """Report that the connection ended before the answer was complete."""
        if self._deadline is not None:
            self._deadline.cancel()
        lost = PeerError(f"{self._address} hung up: it seems not to have this share")
        lost.__cause__ = error
        self._fail(lost)

    def _fail(self, error: PeerError) -> None:
        self.abort()
        self._report(error)

    def _report(self, error: PeerError) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)

    def _hand_over(
        self, transport: asyncio.Transport, greeted: Greeted, confirmation: bytes
    ) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        # No peername if the peer has gone already.
        name = transport.get_extra_info("peername") or ("", 0)
        peer = ProvenPeer(
            Address(host_of(name), name[1]),
            greeted.node_id,
            greeted.version,
            is_server=not self._handshake.is_client,
            is_crossed=self._handshake.has_crossed,
        )
        protocol = self._factory(peer)
        transport.write(confirmation)
        noise = NoiseConnection(greeted.ciphers, lambda: protocol, self._threads)
        transport.set_protocol(noise)
        noise.connection_made(transport)
        if not self._outcome.done():
            self._outcome.set_result(protocol)
