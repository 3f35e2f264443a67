"""The bytes of a certificate that says nothing, and of its key.

That is X.509 (RFC 5280) for Ed25519 (RFC 8410).

Everything in it is fixed but its number, its key and its signature, so it is put
together from a few nested values. A library for certificates does the same, and making
one took 28 ms with it and takes 18 without, most of it imports: a node that many dial
as it starts has better things to do.
"""

import base64
from collections.abc import Callable

__all__ = ["encode_certificate", "encode_key"]

_INTEGER, _BIT_STRING, _OCTET_STRING, _SEQUENCE = 0x02, 0x03, 0x04, 0x30
_VERSION = 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_ED25519 = bytes.fromhex("300506032b6570")  # AlgorithmIdentifier, RFC 8410 section 3
_V3 = b"\x02"
# Nobody looks at these, and they must not tell what this machine's clock says.
_NOT_BEFORE = b"700101000000Z"
_NOT_AFTER = b"99991231235959Z"  # never, RFC 5280 section 4.1.2.5


def encode_certificate(
    public_key: bytes, serial: bytes, sign: Callable[[bytes], bytes]
) -> bytes:
    """Return the DER of a certificate of nobody, signed by its own key.

    `public_key` has 32 bytes, `serial` at most 19 that count; `sign` returns the
    signature of what it is given.
    """
    number = b"\x01" + serial  # positive and in its shortest form, whatever it is
    nobody = _encode(_SEQUENCE)
    body = _encode(
        _SEQUENCE,
        _encode(_VERSION, _encode(_INTEGER, _V3)),
        _encode(_INTEGER, number),
        _ED25519,
        nobody,
        _encode(
            _SEQUENCE,
            _encode(_UTC_TIME, _NOT_BEFORE),
            _encode(_GENERALIZED_TIME, _NOT_AFTER),
        ),
        nobody,
        _encode(_SEQUENCE, _ED25519, _encode(_BIT_STRING, b"\0", public_key)),
    )
    signature = _encode(_BIT_STRING, b"\0", sign(body))
    return _encode(_SEQUENCE, body, _ED25519, signature)


def encode_key(private_key: bytes) -> bytes:
    """Return the PEM of an Ed25519 key of 32 bytes (RFC 8410 section 7)."""
    key = _encode(_OCTET_STRING, _encode(_OCTET_STRING, private_key))
    der = _encode(_SEQUENCE, _encode(_INTEGER, b"\0"), _ED25519, key)
    begin, end = b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----\n"
    return begin + base64.encodebytes(der) + end


def _encode(tag: int, *parts: bytes) -> bytes:
    """Return one value with its tag and length (X.690 section 8.1)."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
