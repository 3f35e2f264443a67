"""Temporary certificates, and the TLS settings of both ends.

docs/protocol.md, "Sealed transport", requires TLS 1.3 only, no client certificate, no
SNI, no tickets and no resumption. A certificate identifies no one: TLS needs one, and
both proofs include its digest, which keeps relays out. Each node makes its own, a new
one every hour and when its addresses change, so that no observer can track the node by
it. Its key exists only in this process. `ssl` reads keys only from files: the file is
in memory where the system allows that; elsewhere it is encrypted with a password that
is not kept, and deleted once read.

The DER is encoded here because its parts are fixed except for serial number, key and
signature, and importing a library for X.509 takes longer (docs/design.md). The key is
Ed25519: on two cores it did as many handshakes as P-256 (2,050 a second against 1,970,
both ends in one thread), with a certificate two thirds the size.
"""

import base64
import os
import secrets
import ssl
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = [
    "Certificate",
    "Certificates",
    "client_context",
    "encode_certificate",
    "encode_key",
    "make_certificate",
    "peer_certificate",
]

LIFETIME = 3600.0  # seconds until a new certificate is made
MAX_REMEMBERED = 64  # digests of our own certificates, the current one included

_INTEGER, _BIT_STRING, _OCTET_STRING, _SEQUENCE = 0x02, 0x03, 0x04, 0x30
_VERSION = 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_ED25519 = bytes.fromhex("300506032b6570")  # AlgorithmIdentifier, RFC 8410 section 3
_V3 = b"\x02"
# No peer checks these dates, and they must not reveal this machine's clock.
_NOT_BEFORE = b"700101000000Z"
_NOT_AFTER = b"99991231235959Z"  # no expiry, RFC 5280 section 4.1.2.5


class Certificate(NamedTuple):
    """Hold a certificate with its key, loaded for use."""

    context: ssl.SSLContext
    """For the server's end of connections."""
    digest: bytes
    """The SHA-256 of its DER: C in docs/protocol.md, "Sealed transport"."""


class Certificates:
    """Own the certificates of one node: the current one and digests of earlier ones."""

    def __init__(
        self,
        now: Callable[[], float],
        addresses: Callable[[], object] = lambda: None,
        lifetime: float = LIFETIME,
    ) -> None:
        """Start without a certificate; `now` returns monotonic seconds.

        When the value of `addresses` changes, a new certificate is made.
        """
        self._now = now
        self._addresses = addresses
        self._lifetime = lifetime
        self._made_with: object = None  # the value of `addresses` at that time
        self._current: Certificate | None = None
        self._made = 0.0
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def current(self) -> Certificate:
        """Return the certificate to present now; making a new one takes 1 ms."""
        now, addresses = self._now(), self._addresses()
        is_old = now - self._made >= self._lifetime or addresses != self._made_with
        if self._current is None or is_old:
            self._current = make_certificate()
            self._made, self._made_with = now, addresses
            self._digests[self._current.digest] = None
            if len(self._digests) > MAX_REMEMBERED:
                self._digests.popitem(last=False)
        return self._current

    def __contains__(self, digest: object) -> bool:
        """Return True if `digest` is that of one of our recent certificates."""
        return digest in self._digests


def make_certificate() -> Certificate:
    """Return a new certificate, loaded for a server."""
    # Imported here, so that a command without sealed shares does not pay for it.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    der = encode_certificate(
        key.public_key().public_bytes_raw(), secrets.token_bytes(16), key.sign
    )
    pem = ssl.DER_cert_to_PEM_cert(der).encode()
    context = _server_context()
    if not _load_from_memory(context, pem + encode_key(key.private_bytes_raw())):
        password = secrets.token_hex(32)
        _load_from_disk(context, pem + _encrypt_key(key, password), password)
    return Certificate(context, sha256(der).digest())


@cache
def client_context() -> ssl.SSLContext:
    """Return the settings of the client's end, the same for every connection.

    No name is sent, no session is resumed and any certificate is accepted: the
    proofs identify the server.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_TICKET
    return context


def peer_certificate(tls: ssl.SSLObject) -> bytes | None:
    """Return the digest of the server's certificate, None if it sent none."""
    der = tls.getpeercert(binary_form=True)
    return sha256(der).digest() if der else None


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def _load_from_memory(context: ssl.SSLContext, pem: bytes) -> bool:
    """Load a file in memory; return False where the system cannot do that."""
    if not hasattr(os, "memfd_create"):
        return False
    file = os.memfd_create("shoal", os.MFD_CLOEXEC)
    try:
        os.write(file, pem)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    except FileNotFoundError:  # no /proc
        return False
    finally:
        os.close(file)
    return True


def _encrypt_key(key: "Ed25519PrivateKey", password: str) -> bytes:
    """Return the PEM of a key, encrypted with a password."""
    from cryptography.hazmat.primitives import serialization as forms

    encryption = forms.BestAvailableEncryption(password.encode())
    return key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, encryption)


def _load_from_disk(context: ssl.SSLContext, pem: bytes, password: str) -> None:
    import tempfile  # slow to import, and used only here

    file, path = tempfile.mkstemp(prefix="shoal-")
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(pem)
        context.load_cert_chain(path, password=password)
    finally:
        os.unlink(path)


def encode_certificate(
    public_key: bytes, serial: bytes, sign: Callable[[bytes], bytes]
) -> bytes:
    """Return the DER of a self-signed certificate with empty names.

    It follows RFC 5280 section 4.1 and RFC 8410.

    `public_key` has 32 bytes, `serial` at most 19; `sign` returns the signature of
    its argument.
    """
    number = b"\x01" + serial  # positive and in its shortest form for any serial
    empty_name = _encode(_SEQUENCE)
    body = _encode(
        _SEQUENCE,
        _encode(_VERSION, _encode(_INTEGER, _V3)),
        _encode(_INTEGER, number),
        _ED25519,
        empty_name,
        _encode(
            _SEQUENCE,
            _encode(_UTC_TIME, _NOT_BEFORE),
            _encode(_GENERALIZED_TIME, _NOT_AFTER),
        ),
        empty_name,
        _encode(_SEQUENCE, _ED25519, _encode(_BIT_STRING, b"\0", public_key)),
    )
    signature = _encode(_BIT_STRING, b"\0", sign(body))
    return _encode(_SEQUENCE, body, _ED25519, signature)


def encode_key(private_key: bytes) -> bytes:
    """Return the PEM of an Ed25519 private key of 32 bytes (RFC 8410 section 7)."""
    key = _encode(_OCTET_STRING, _encode(_OCTET_STRING, private_key))
    der = _encode(_SEQUENCE, _encode(_INTEGER, b"\0"), _ED25519, key)
    begin, end = b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----\n"
    return begin + base64.encodebytes(der) + end


def _encode(tag: int, *parts: bytes) -> bytes:
    """Return the DER of one value: tag, length, content (X.690 section 8.1)."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
