"""Servers of a sealed share that violate the protocol in one way only."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.proof import ServerProof
from shoal.transport.tls.certificate import Certificate
from tests.helpers.relay import Knocked
from tests.helpers.sealed import KEYS, SERVER_ID

__all__ = ["LyingServer", "mismatched_context"]


class CredulousProof(ServerProof):
    """Accept any proof of the client."""

    def _take_proof(self, proof: bytes) -> None:
        mac = self._server_mac(self._greeting, proof, self._node_id)
        self._outgoing = self._node_id + mac


class LyingServer(Knocked):
    """Accept every client, and prove the id for a given certificate."""

    def __init__(
        self,
        certificate: Certificate | ssl.SSLContext,
        *,
        claimed: bytes,
        keys: Keys = KEYS,
    ) -> None:
        super().__init__()
        if isinstance(certificate, Certificate):
            certificate = certificate.context
        self._context = certificate
        self._claimed = claimed
        self._keys = keys

    async def meet(self, knock: bytes, accepted: socket.socket) -> None:
        proof = CredulousProof(self._keys, SERVER_ID, self._claimed, bytes(32))
        reader, writer = await self.streams(accepted, self._context)
        writer.write(proof.data_to_send())
        proof.receive(await reader.readexactly(proof.needed))
        writer.write(proof.data_to_send())
        await reader.read()


def mismatched_context() -> tuple[ssl.SSLContext, bytes]:
    """Return a server's TLS context with the key of another certificate, and the DER.

    OpenSSL compares only the public keys, so the key file combines the certificate's
    public key with another private key.
    """
    right = ec.generate_private_key(ec.SECP256R1())
    wrong = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(right.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(right, hashes.SHA256())
    )
    public = right.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    secret = wrong.private_numbers().private_value.to_bytes(32, "big")
    # ECPrivateKey of RFC 5915.
    key = bytes.fromhex("30770201010420") + secret
    key += bytes.fromhex("a00a06082a8648ce3d030107a144034200") + public
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pem"
        text = ssl.DER_cert_to_PEM_cert(key).replace("CERTIFICATE", "EC PRIVATE KEY")
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM) + text.encode()
        )
        context.load_cert_chain(path)
    return context, certificate.public_bytes(serialization.Encoding.DER)
