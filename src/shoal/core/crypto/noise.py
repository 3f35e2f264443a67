"""Run the handshake Noise_NNpsk0_25519_AESGCM_SHA256, and encrypt what follows; pure.

The Noise Protocol Framework, revision 34 (https://noiseprotocol.org/noise.html), with
one pattern and one set of algorithms:

    NNpsk0:  -> psk, e
             <- e, ee

Both ends know the 32-byte psk. A node that does not know it can make neither message,
and the exchange of ephemeral keys (ee) gives forward secrecy: a psk that leaks later
opens the payload of a recorded first message, and nothing after it. docs/design.md says
why this state machine is ours, and docs/protocol.md, "Sealed transport", what shoal
puts into the payloads.
"""

import hashlib
import hmac
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shoal.errors import ProtocolError

__all__ = [
    "KEY_SIZE",
    "REKEY_MESSAGES",
    "TAG_SIZE",
    "Cipher",
    "Ciphers",
    "Initiator",
    "Key",
    "Opened",
    "Start",
    "answer",
    "open_first",
    "start_from",
]

NAME = b"Noise_NNpsk0_25519_AESGCM_SHA256"  # 32 bytes, so it is the first hash itself
KEY_SIZE = 32  # bytes of a psk, a public key or a cipher key
TAG_SIZE = 16  # bytes that encryption adds to a message
REKEY_MESSAGES = 1 << 20
"""Messages encrypted with one key: at most 64 GiB.

docs/design.md, "Nonces and the amount of data per key".
"""

_MAX_NONCE = b"\xff" * 8  # reserved by the framework for Rekey
_PREFIX = bytes(4)  # in front of the counter, in an AES-GCM nonce
_FIRST_NONCE = bytes(12)

Key: TypeAlias = tuple[AESGCM, bytes]
"""The key and the nonce of one message."""


class Start(NamedTuple):
    """The symmetric state after the token psk: the same for all handshakes with it."""

    hash: bytes
    chaining_key: bytes


class Opened(NamedTuple):
    """A first message that a psk has opened, and the state to answer it from."""

    payload: bytes
    ephemeral: bytes
    """The initiator's public key; no other message has the same one."""
    hash: bytes
    chaining_key: bytes


class Cipher:
    """Encrypt or decrypt the messages of one direction, with a counter for a nonce.

    Each value of the counter is given out once: a nonce cannot be used twice. The key
    is replaced by Rekey() after every `REKEY_MESSAGES` messages.
    """

    def __init__(self, key: bytes, rekey_messages: int = REKEY_MESSAGES) -> None:
        self._key = AESGCM(key)
        self._counter = 0
        self._rekey_messages = rekey_messages

    def take_keys(self, count: int) -> list[Key]:
        """Return the keys of the next `count` messages, each for that message only."""
        keys: list[Key] = []
        for counter in range(self._counter, self._counter + count):
            if counter and counter % self._rekey_messages == 0:
                nonce = _PREFIX + _MAX_NONCE
                self._key = AESGCM(self._key.encrypt(nonce, bytes(32), None)[:KEY_SIZE])
            keys.append((self._key, _PREFIX + counter.to_bytes(8, "big")))
        self._counter += count
        return keys

    def encrypt(self, payload: bytes | memoryview) -> bytes:
        """Return the next message: `TAG_SIZE` bytes longer than the payload."""
        ((key, nonce),) = self.take_keys(1)
        return key.encrypt(nonce, payload, None)

    def decrypt(self, message: bytes | memoryview) -> bytes:
        """Return the payload of the next message; raises `ProtocolError`."""
        ((key, nonce),) = self.take_keys(1)
        try:
            return key.decrypt(nonce, message, None)
        except InvalidTag:
            raise ProtocolError("a message that was changed on its way") from None


class Ciphers(NamedTuple):
    """The result of a handshake, at one end."""

    send: Cipher
    receive: Cipher
    handshake_hash: bytes
    """32 bytes that are equal at both ends, and unique to this handshake."""


class Initiator:
    """Make the first message, and read the answer to it."""

    def __init__(
        self, start: Start, payload: bytes, private: X25519PrivateKey | None = None
    ) -> None:
        """Begin with a payload; only tests give the ephemeral key."""
        self._private = private or X25519PrivateKey.generate()
        ephemeral = self._private.public_key().public_bytes_raw()
        hash_, self._chaining_key, key = _with_ephemeral(*start, ephemeral)
        sealed = AESGCM(key).encrypt(_FIRST_NONCE, payload, hash_)
        self.message = ephemeral + sealed
        """Public key, then the encrypted payload: 48 bytes longer than it."""
        self._hash = _hash(hash_, sealed)

    def finish(self, message: bytes) -> tuple[bytes, Ciphers]:
        """Return the payload of the answer and the ciphers for the messages after it.

        Raises `ProtocolError` if the answer is not from an end that knows the psk.
        """
        ephemeral, sealed = message[:KEY_SIZE], message[KEY_SIZE:]
        mixed, ck, _ = _with_ephemeral(self._hash, self._chaining_key, ephemeral)
        ck, key = _hkdf(ck, _exchange(self._private, ephemeral), 2)
        payload = _open(key, sealed, mixed)
        if payload is None:
            raise ProtocolError("an answer that does not fit the first message")
        first, second = _hkdf(ck, b"", 2)
        return payload, Ciphers(Cipher(first), Cipher(second), _hash(mixed, sealed))


def start_from(psk: bytes, prologue: bytes) -> Start:
    """Return the state that both ends begin with."""
    if len(psk) != KEY_SIZE:
        raise ValueError(f"a psk has {KEY_SIZE} bytes, not {len(psk)}")
    ck, mixed, _ = _hkdf(NAME, psk, 3)
    return Start(_hash(_hash(NAME, prologue), mixed), ck)


def open_first(start: Start, message: bytes) -> Opened | None:
    """Return what a first message contains; None if it was not made with this psk."""
    ephemeral, sealed = message[:KEY_SIZE], message[KEY_SIZE:]
    hash_, ck, key = _with_ephemeral(*start, ephemeral)
    payload = _open(key, sealed, hash_)
    if payload is None:
        return None
    return Opened(payload, ephemeral, _hash(hash_, sealed), ck)


def answer(
    opened: Opened, payload: bytes, private: X25519PrivateKey | None = None
) -> tuple[bytes, Ciphers]:
    """Return the second message and the ciphers for the messages after it.

    Only tests give the ephemeral key. Raises `ProtocolError` if the initiator's public
    key is not one (RFC 7748 section 6.1: the shared secret would be zero).
    """
    private = private or X25519PrivateKey.generate()
    ephemeral = private.public_key().public_bytes_raw()
    mixed, ck, _ = _with_ephemeral(opened.hash, opened.chaining_key, ephemeral)
    ck, key = _hkdf(ck, _exchange(private, opened.ephemeral), 2)
    sealed = AESGCM(key).encrypt(_FIRST_NONCE, payload, mixed)
    first, second = _hkdf(ck, b"", 2)
    ciphers = Ciphers(Cipher(second), Cipher(first), _hash(mixed, sealed))
    return ephemeral + sealed, ciphers


def _with_ephemeral(
    hash_: bytes, chaining_key: bytes, ephemeral: bytes
) -> tuple[bytes, bytes, bytes]:
    """Return hash, chaining key and cipher key after the token e of a psk pattern."""
    ck, key = _hkdf(chaining_key, ephemeral, 2)
    return _hash(hash_, ephemeral), ck, key


def _open(key: bytes, sealed: bytes, hash_: bytes) -> bytes | None:
    try:
        return AESGCM(key).decrypt(_FIRST_NONCE, sealed, hash_)
    except InvalidTag:
        return None


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise ProtocolError("a public key of low order") from None


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Return the first two or three outputs of the framework's HKDF (section 4.3)."""
    secret = hmac.digest(chaining_key, material, "sha256")
    results = [b""]
    for number in range(1, outputs + 1):
        text = results[-1] + bytes((number,))
        results.append(hmac.digest(secret, text, "sha256"))
    return results[1:]
