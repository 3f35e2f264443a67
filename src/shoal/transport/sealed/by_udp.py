"""Connect with holders of shares by QUIC, where TCP does not get through.

`Port` dials by TCP first. By UDP it dials a global address that TCP has not reached,
and soon if our own NAT has another port for each socket: that of a UDP socket is known
from the DHT, and that of a TCP connection is not (docs/protocol.md, "QUIC").
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from shoal.core.crypto.crossing import AnswerHandshake, DialHandshake
from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import start_of
from shoal.core.names.address import Address
from shoal.errors import NotAHolderError, PeerError, PeerTimeoutError, ShoalError
from shoal.transport.dial import reaching
from shoal.transport.quic.endpoint import QuicEndpoint, SendTo
from shoal.transport.sealed.dial import settle
from shoal.transport.sealed.knocking import Knocking
from shoal.transport.sealed.listen import PROOF_TIME
from shoal.transport.sealed.proven import Factory, ProvenPeer

if TYPE_CHECKING:
    from shoal.transport.quic.stream import QuicStream
    from shoal.transport.sealed.port import Port

__all__ = ["UdpPeers"]

HEAD_START = 3.0  # seconds for TCP; by then most that can be dialled have answered
# The address may soon be dialled by TCP again, as a peer may be starting. If its knock
# comes later, the NAT still lets it in, and it is accepted.
REFUSED_TIME = 1.0  # seconds for UDP if TCP is refused
SHORT_START = 0.5  # seconds for TCP from behind a NAT that changes ports


class UdpPeers:
    """Dial and accept holders of the shares of a port by QUIC."""

    def __init__(
        self, port: "Port", send: SendTo, is_changing: Callable[[], bool]
    ) -> None:
        """Accept the holders of every share that is registered at `port`.

        `send` sends datagrams from the socket whose datagrams go to `on_datagrams`, and
        `is_changing` returns True if our NAT is known to change ports.
        """
        self._port = port
        self._is_changing = is_changing
        self._endpoint = QuicEndpoint(
            send, port.keys_of_shares, self._accept, port.knocks
        )
        self.on_datagrams = self._endpoint.on_datagrams
        self.close = self._endpoint.close

    async def dial(
        self,
        by_tcp: Coroutine[Any, Any, object],
        address: Address,
        keys: Keys,
        factory: Factory,
    ) -> None:
        """Await `by_tcp`, and dial by UDP as well if that fails or takes long.

        Raises the error of `by_tcp` if neither connects.
        """
        head_start = SHORT_START if self._is_changing() else HEAD_START
        tcp = asyncio.create_task(_outcome(by_tcp), name="dial by TCP")
        tasks = {tcp}
        try:
            await asyncio.wait(tasks, timeout=head_start)
            if not tcp.done() or _is_unreached(tcp.result()):
                by_udp = self._dial(address, keys, factory)
                tasks.add(asyncio.create_task(_outcome(by_udp), name="dial by UDP"))
            waiting = tasks
            while waiting:
                is_refused = tcp.done() and _is_refused(tcp.result())
                done, waiting = await asyncio.wait(
                    waiting,
                    timeout=REFUSED_TIME if is_refused else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    break
                if any(each.result() is None for each in done):
                    return
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.wait(tasks)
        error = tcp.result()
        assert error is not None
        raise error

    async def _dial(self, address: Address, keys: Keys, factory: Factory) -> None:
        port, start = self._port, start_of(keys.psk)
        outcome = asyncio.get_running_loop().create_future()

        def make(is_client: bool) -> Knocking:
            kind = DialHandshake if is_client else AnswerHandshake
            handshake = kind(start, port.node_id, port.knocks)
            return Knocking(
                address,
                handshake,
                lambda proven: factory(proven._replace(is_udp=True)),
                outcome,
                port.threads,
            )

        try:
            stream = await self._endpoint.dial(address, keys.psk, make)
            # Once TCP has connected, too, the peer may have chosen this connection, so
            # it is not ended: the swarm keeps one of the two at both ends.
            _end_unless_proven(stream)
            async with reaching(address, PROOF_TIME):
                await outcome
        finally:
            settle(outcome)

    def _accept(self, address: Address, psk: bytes) -> Knocking:
        """Return the protocol of a peer that dialled us and knows the id of a share."""
        port, loop = self._port, asyncio.get_running_loop()

        def begin(proven: ProvenPeer) -> asyncio.BufferedProtocol:
            # The share may have been withdrawn during the handshake.
            factory = port.factory_of(psk)
            if factory is None:
                raise NotAHolderError("the share is no longer shared")
            return factory(proven._replace(is_server=False, is_udp=True))

        outcome = loop.create_future()
        handshake = AnswerHandshake(start_of(psk), port.node_id, port.knocks)
        knocking = Knocking(address, handshake, begin, outcome, port.threads)
        timer = loop.call_later(PROOF_TIME, knocking.abort)

        def on_done(done: "asyncio.Future[Any]") -> None:
            timer.cancel()
            with suppress(PeerError):  # the fault of a peer that we did not dial
                done.result()

        outcome.add_done_callback(on_done)
        return knocking


async def _outcome(dial: Coroutine[Any, Any, object]) -> ShoalError | None:
    """Return why a dial has failed; None if it has connected."""
    try:
        await dial
    except PeerError as error:
        return error
    return None


def _end_unless_proven(stream: "QuicStream") -> None:
    """End a connection whose handshake is not over after `PROOF_TIME`."""
    knocking = stream.get_protocol()

    def end() -> None:
        if stream.get_protocol() is knocking:
            stream.abort()

    asyncio.get_running_loop().call_later(PROOF_TIME, end)


def _is_refused(error: ShoalError | None) -> bool:
    """Return True if the machine at an address, or its router, refuses TCP there."""
    return error is not None and isinstance(error.__cause__, ConnectionRefusedError)


def _is_unreached(error: ShoalError | None) -> bool:
    """Return True if nothing at an address has answered by TCP."""
    is_late = isinstance(error, PeerTimeoutError)
    return is_late or (error is not None and isinstance(error.__cause__, OSError))
