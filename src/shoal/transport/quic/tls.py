"""Configure qh3: what a QUIC connection offers, and its throw-away certificate.

The TLS of QUIC proves nothing to us and hides nothing that matters: the Noise handshake
within the stream does (docs/protocol.md, "QUIC"). So the certificate is new in every
process, has no name, and is not checked.
"""

import logging
import ssl
from datetime import datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from qh3.quic.configuration import QuicConfiguration

__all__ = ["IDLE_TIME", "WINDOW", "configuration"]

# The most common protocol, so that the name tells nothing.
ALPN = "h3"
IDLE_TIME = 15.0  # seconds without a packet that end a connection
WINDOW = 4 << 20  # bytes that the peer may send before they are read
DATAGRAM_SIZE = 1200  # bytes; what every path takes (RFC 9000 section 14)
INITIAL_RTT = 0.1  # seconds
# qh3 logs warnings about what peers do; they concern no user who does not ask for them.
logging.getLogger("quic").addHandler(logging.NullHandler())
# All nodes have the same: a date would tell when a node was started.
_SINCE, _UNTIL = datetime(2020, 1, 1), datetime(2100, 1, 1)


def configuration(*, is_client: bool) -> QuicConfiguration:
    """Return the configuration of one connection."""
    made = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        idle_timeout=IDLE_TIME,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        max_datagram_size=DATAGRAM_SIZE,
        initial_rtt=INITIAL_RTT,
        verify_mode=ssl.CERT_NONE,
        verify_hostname=False,
    )
    if not is_client:
        made.load_cert_chain(*_certificate())
    return made


@cache
def _certificate() -> tuple[bytes, bytes]:
    """Return a certificate without a name and its key, both as PEM."""
    key, nobody = generate_private_key(SECP256R1()), x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_SINCE)
        .not_valid_after(_UNTIL)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private
