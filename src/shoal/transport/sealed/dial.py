"""Dial a peer of a sealed share: TCP, the knock, TLS, both proofs, in one deadline.

The client says nothing that depends on the share until the server has greeted it
inside TLS, and nothing more than its proof until the server's has passed.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Container
from typing import TypeVar

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.proof import (
    KNOCK_NONCE_SIZE,
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
)
from shoal.transport.sealed.proven import ProvenPeer, ProvenProtocol
from shoal.transport.tls.certificate import client_context, peer_certificate
from shoal.transport.tls.tls import TlsConnection

__all__ = ["DIAL_TIME", "dial_sealed"]

DIAL_TIME = 10.0  # seconds from the first packet to the end of the proofs

P = TypeVar("P", bound=asyncio.BufferedProtocol)


async def dial_sealed(
    address: Address,
    keys: Keys,
    node_id: bytes,
    factory: Callable[[ProvenPeer], P],
    *,
    own_certificates: Container[bytes] = (),
    within: float = DIAL_TIME,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> P:
    """Connect what `factory` makes to a peer that knows the id; return it.

    `factory` is called when both proofs have passed, and may raise `PeerError`
    to refuse the peer. `own_certificates` holds the digests of this node's own.

    Raises `SelfConnectionError` when this very node answered: forget the address;
    `NotAHolderError` when it does not know the id, `ProtocolError` when it does
    not speak the protocol, `PeerTimeoutError` after `within` seconds, and
    `PeerError` when it cannot be reached or hangs up, as a node does that does
    not have the share, or not any more.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[P] = loop.create_future()

    def begin(tls: ssl.SSLObject) -> ClientProof:
        certificate = peer_certificate(tls)
        if certificate is None:
            raise ProtocolError("a server without a certificate")
        if certificate in own_certificates:
            raise SelfConnectionError(f"{address} is this very node")
        return ClientProof(keys, node_id, certificate, random_bytes(NONCE_SIZE))

    def on_proven(peer: ProvenPeer) -> P:
        protocol = factory(peer)
        if not outcome.done():
            outcome.set_result(protocol)
        return protocol

    def on_failed(error: Exception | None) -> None:
        if not outcome.done():
            outcome.set_exception(_explain(address, error))

    knock = make_knock(keys.knock, random_bytes(KNOCK_NONCE_SIZE))
    proven = ProvenProtocol(begin, on_proven, on_failed)
    tls = TlsConnection(client_context(), proven, is_server=False, preamble=knock)
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
        _forget(outcome)


def _forget(outcome: "asyncio.Future[P]") -> None:
    """Let nobody hear of it any more: whoever asked has heard, or gave up before."""
    if not outcome.cancel() and not outcome.cancelled():
        outcome.exception()


def _explain(address: Address, error: Exception | None) -> PeerError:
    """Return what to tell about a connection that came to nothing."""
    if isinstance(error, PeerError):
        return error
    explained = PeerError(f"{address} hung up: it seems not to have this share")
    explained.__cause__ = error
    return explained
