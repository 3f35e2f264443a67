"""The one TCP port of a node that serves all its sealed shares.

`Port` is the listener, owns this process's node id and its temporary certificates, and
dials with them, so that a node which dials itself notices. When the machine's addresses
change it presents a new certificate: a peer that saw the old one cannot tell that the
node at the new address is the same.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Container, Sequence
from typing import TypeVar

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.proof import (
    KNOCK_NONCE_SIZE,
    NODE_ID_SIZE,
    NONCE_SIZE,
    ClientProof,
    make_knock,
)
from shoal.core.names.address import Address
from shoal.errors import PeerError, PeerTimeoutError, ProtocolError, SelfConnectionError
from shoal.net.interfaces import own_addresses
from shoal.transport.connection import reaching
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


class Port(SealedListener):
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
        certificates = Certificates(loop.time, addresses)
        super().__init__(self.node_id, certificates, hosts=hosts, port=port)

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
            raise SelfConnectionError(f"{address} is this node itself")
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
        async with reaching(address, within):
            await loop.create_connection(lambda: tls, address.host, address.port)
            return await outcome
    except (PeerTimeoutError, asyncio.CancelledError):
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
