"""The one TCP port of a node that serves all its sealed shares.

`Port` owns the listener, this process's node id and its temporary certificates, and
dials with them, so that a node which dials itself notices. When the machine's addresses
change it presents a new certificate: a peer that saw the old one cannot tell that the
node at the new address is the same.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple, TypeVar

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.proof import (
    KNOCK_NONCE_SIZE,
    NODE_ID_SIZE,
    NONCE_SIZE,
    ClientProof,
    make_knock,
)
from shoal.core.names.address import Address
from shoal.errors import (
    PeerError,
    PeerTimeoutError,
    ProtocolError,
    SelfConnectionError,
    UsageError,
)
from shoal.net.interfaces import own_addresses
from shoal.transport.sealed.listen import SealedListener
from shoal.transport.sealed.proven import Dial, Factory, ProvenPeer, ProvenProtocol
from shoal.transport.tls.certificate import (
    Certificates,
    client_context,
    peer_certificate,
)
from shoal.transport.tls.tls import TlsConnection

__all__ = ["DIAL_TIME", "Port", "dial_sealed"]

# docs/protocol.md, "Sealed transport", allows 10 s up to the last proof.
DIAL_TIME = 10.0  # seconds

P = TypeVar("P", bound=asyncio.BufferedProtocol)


class _Registration(NamedTuple):
    """Hold the owner of one share's inbound connections."""

    factory: Factory
    yields: bool


class Port:
    """Accept and dial holders of our shares."""

    def __init__(
        self,
        hosts: Sequence[str],
        port: int,
        *,
        addresses: Callable[[], frozenset[str]] = own_addresses,
    ) -> None:
        """Listen at `port` of all `hosts`; raise as `bind_all` does.

        `addresses` returns this machine's addresses.
        """
        self.node_id = os.urandom(NODE_ID_SIZE)
        """16 random bytes, new in every process."""
        loop = asyncio.get_running_loop()
        self._certificates = Certificates(loop.time, addresses)
        self._listener = SealedListener(
            self.node_id, self._certificates, hosts=hosts, port=port
        )
        self.port = self._listener.port
        """TCP port that peers can dial."""
        self._registrations: dict[bytes, _Registration] = {}  # by knock key

    def register(self, keys: Keys, factory: Factory, *, yields: bool = False) -> None:
        """Accept holders of a share from now on.

        A registration that `yields` gives way to another of the same share: its owner
        dials peers itself and can do without inbound connections. Raises `UsageError`
        if the share is registered already or there are too many.
        """
        other = self._registrations.get(keys.knock)
        if other is not None and other.yields and not yields:
            self._listener.unregister(keys)
        try:
            self._listener.register(keys, factory)
        except UsageError:
            if not yields:
                raise
        else:
            self._registrations[keys.knock] = _Registration(factory, yields)

    def unregister(self, keys: Keys, factory: Factory) -> None:
        """Accept no more holders of a share if `factory` makes its connections."""
        registration = self._registrations.get(keys.knock)
        if registration is not None and registration.factory == factory:
            del self._registrations[keys.knock]
            self._listener.unregister(keys)

    def dialler(self, keys: Keys) -> Dial:
        """Return a function that connects to other holders of a share."""

        async def dial(address: Address, factory: Factory) -> None:
            await dial_sealed(
                address,
                keys,
                self.node_id,
                factory,
                own_certificates=self._certificates,
            )

        return dial

    async def aclose(self) -> None:
        """Stop accepting; idempotent."""
        await self._listener.aclose()


async def dial_sealed(
    address: Address,
    keys: Keys,
    node_id: bytes,
    factory: Callable[[ProvenPeer], P],
    *,
    own_certificates: Container[bytes] = (),
    within: float = DIAL_TIME,
) -> P:
    """Connect to a peer that knows the id; return the protocol that `factory` makes.

    This is the client's side of docs/protocol.md, "Sealed transport". The client
    sends nothing that depends on the share, apart from the knock, until the server
    has greeted it inside TLS, and only its proof until the server's proof has passed.

    `factory` is called when both proofs have passed, and may raise `PeerError`
    to refuse the peer. `own_certificates` holds the digests of this node's own.

    Raises `SelfConnectionError` if this node itself answered (forget the address),
    `NotAHolderError` if the peer does not know the id, `ProtocolError` if it does
    not speak the protocol, `PeerTimeoutError` after `within` seconds, and
    `PeerError` if it cannot be reached or hangs up, as a node does that does
    not have the share.
    """
    outcome: asyncio.Future[P] = asyncio.get_running_loop().create_future()

    def begin(tls: ssl.SSLObject) -> ClientProof:
        certificate = peer_certificate(tls)  # C in both proofs
        if certificate is None:
            raise ProtocolError("a server without a certificate")
        if certificate in own_certificates:
            raise SelfConnectionError(f"{address} is this very node")
        return ClientProof(keys, node_id, certificate, os.urandom(NONCE_SIZE))

    def on_proven(peer: ProvenPeer) -> P:
        protocol = factory(peer)
        if not outcome.done():
            outcome.set_result(protocol)
        return protocol

    def on_failed(error: Exception | None) -> None:
        if not outcome.done():
            outcome.set_exception(_explain(address, error))

    knock = make_knock(keys.knock, os.urandom(KNOCK_NONCE_SIZE))
    proven = ProvenProtocol(begin, on_proven, on_failed)
    # The knock travels with TLS's first message, so it costs no round trip.
    tls = TlsConnection(client_context(), proven, is_server=False, preamble=knock)
    return await _connect(tls, address, outcome, within)


async def _connect(
    tls: TlsConnection,
    address: Address,
    outcome: "asyncio.Future[P]",
    within: float,
) -> P:
    """Connect `tls` to an address and wait for the outcome of the proofs."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within):
            await loop.create_connection(lambda: tls, address.host, address.port)
            return await outcome
    except TimeoutError:
        tls.abort()
        raise PeerTimeoutError(f"{address} did not answer in {within:g} s") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise PeerError(f"{address} cannot be reached: {reason}") from error
    except asyncio.CancelledError:
        tls.abort()
        raise
    finally:
        # Marks the outcome as retrieved, so that asyncio does not log its exception.
        if not outcome.cancel() and not outcome.cancelled():
            outcome.exception()


def _explain(address: Address, error: Exception | None) -> PeerError:
    """Return the error to raise for a connection that failed."""
    if isinstance(error, PeerError):
        return error
    explained = PeerError(f"{address} hung up: it seems not to have this share")
    explained.__cause__ = error
    return explained
