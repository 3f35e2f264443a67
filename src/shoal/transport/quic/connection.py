"""A connection of qh3 with its configuration, and the ids of packets for it.

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
from qh3._hazmat import Buffer
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.events import ConnectionIdIssued, ConnectionIdRetired, QuicEvent
from qh3.quic.packet import QuicPacketType, pull_quic_header

from shoal.transport.quic.packets import CID_SIZE, begins

__all__ = ["IDLE_TIME", "WINDOW", "Connection", "accepting", "configuration"]

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


class Connection(QuicConnection):
    """A connection that can leave its events where they are, and so its window."""

    is_held = False

    def __init__(self, destination: bytes | None = None) -> None:
        """Begin as a client, or as the server of one that chose this `destination`."""
        super().__init__(
            configuration=configuration(is_client=destination is None),
            original_destination_connection_id=destination,
        )
        self.ids = {self.host_cid}
        """The destination ids of packets for this connection."""
        if destination is not None:
            self.ids.add(destination)

    def next_event(self) -> QuicEvent | None:
        """Return the next event that is not about ids."""
        while (event := super().next_event()) is not None:
            if isinstance(event, ConnectionIdIssued):
                self.ids.add(event.connection_id)
            elif isinstance(event, ConnectionIdRetired):
                self.ids.discard(event.connection_id)
            else:
                break
        return event

    def _drain_core(self) -> None:
        if not self.is_held:
            super()._drain_core()

    def release(self) -> None:
        """Take the events that were left."""
        self.is_held = False
        if self._core is not None:
            self._drain_core()


def accepting(datagram: bytes) -> Connection | None:
    """Return a server's connection for the first datagram of a client.

    None if it is another datagram: anyone can send one in the name of the client.
    """
    try:
        header = pull_quic_header(Buffer(data=datagram), CID_SIZE)
    except ValueError:
        return None
    if header.packet_type is not QuicPacketType.INITIAL or not begins(datagram):
        return None
    return Connection(header.destination_cid)


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
