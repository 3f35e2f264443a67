"""A certificate that no one has signed, for servers of tests."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["local_context", "own_context"]


def own_context() -> ssl.SSLContext:
    """Return the TLS settings of a server with a self-signed certificate."""
    with TemporaryDirectory() as folder:
        return local_context(Path(folder) / "pem")


def local_context(path: Path) -> ssl.SSLContext:
    """Return the TLS settings of a server, whose certificate is written to `path`.

    It has the name `localhost`.
    """
    key, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    builder = builder.add_extension(names, critical=False)
    certificate = builder.not_valid_after(now + timedelta(days=1)).sign(key, None)
    pem = certificate.public_bytes(forms.Encoding.PEM) + key.private_bytes(
        forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path.write_bytes(pem)
    context.load_cert_chain(path)
    return context
