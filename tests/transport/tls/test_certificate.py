"""The certificate encoded by hand is one that a library can parse."""

import ssl

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from shoal.transport.tls.certificate import (
    encode_certificate,
    encode_key,
    make_certificate,
)


@given(st.binary(min_size=16, max_size=16))
def test_a_library_parses_the_certificate_and_verifies_its_signature(
    serial: bytes,
) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    found = x509.load_der_x509_certificate(encode_certificate(public, serial, key.sign))
    own = found.public_key()
    assert isinstance(own, Ed25519PublicKey)
    assert own.public_bytes_raw() == public
    own.verify(found.signature, found.tbs_certificate_bytes)
    assert found.version is x509.Version.v3
    assert not list(found.subject)
    assert not list(found.issuer)
    assert found.serial_number == int.from_bytes(b"\x01" + serial)


def test_a_library_parses_the_key() -> None:
    key = Ed25519PrivateKey.generate()
    found = load_pem_private_key(encode_key(key.private_bytes_raw()), None)
    assert isinstance(found, Ed25519PrivateKey)
    assert found.private_bytes_raw() == key.private_bytes_raw()


def test_the_dates_do_not_reveal_this_machines_clock() -> None:
    key = Ed25519PrivateKey.generate()
    der = encode_certificate(key.public_key().public_bytes_raw(), bytes(16), key.sign)
    found = x509.load_der_x509_certificate(der)
    assert found.not_valid_before_utc.year == 1970
    assert found.not_valid_after_utc.year == 9999


def test_every_certificate_has_its_own_digest() -> None:
    made = [make_certificate() for _ in range(3)]
    assert len({each.digest for each in made}) == len(made)
    assert all(isinstance(each.context, ssl.SSLContext) for each in made)
