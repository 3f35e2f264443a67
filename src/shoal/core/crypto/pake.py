"""Agree on a key with another node that knows the same code; pure.

SPAKE2 (Abdalla and Pointcheval, 2005) over Ed25519, as the package `spake2` has it,
which magic-wormhole uses as well. It differs from RFC 9382 in the points M and N and in
the hash at the end. Each end sends one message of 32 bytes, which is a random point to
everyone who does not know the password. An observer of both messages cannot test
guesses: an attacker has to take part, with one guess.

Both ends then prove that they have the same key, the receiver first. So a sender that
answers only right proofs tells nothing, and counts a guess for each wrong one.
docs/protocol.md, "Codes", has the messages.
"""

import hmac
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from spake2.ed25519_basic import NotOnCurve
from spake2.spake2 import SPAKE2_A, SPAKE2_B, SPAKEError

from shoal.core.crypto.keys import KEY_SIZE, expand
from shoal.errors import ProtocolError

__all__ = [
    "MESSAGE_SIZE",
    "PROOF_SIZE",
    "CodeKeys",
    "ReceiverPake",
    "SenderPake",
    "seal_once",
    "unseal_once",
]

MESSAGE_SIZE = 32  # bytes: a point of Ed25519
PROOF_SIZE = 32  # bytes
_SALT = b"shoal/v2 code"
_RECEIVER, _SENDER = b"shoal/v2 code receiver", b"shoal/v2 code sender"
# The package puts the side in front of a message. Here it follows from the direction.
_SIDE_OF_RECEIVER, _SIDE_OF_SENDER = b"A", b"B"
_NONCE = bytes(12)  # each key encrypts one message


class CodeKeys(NamedTuple):
    """Hold what both ends compute from the key of one exchange."""

    receiver_proof: bytes
    """Proves that the receiver knows the code."""
    sender_proof: bytes
    """Proves that the sender knows the code."""
    receipt: bytes
    """Proves that the receiver has read the link."""
    link_key: bytes
    """Encrypts the link, once."""

    def __repr__(self) -> str:
        return "<CodeKeys>"


class ReceiverPake:
    """The end that has been told a code."""

    def __init__(self, password: bytes, entropy: Callable[[int], bytes]) -> None:
        """Begin; `entropy` returns as many random bytes as it is asked for."""
        self._pake = SPAKE2_A(password, _RECEIVER, _SENDER, entropy_f=entropy)
        self.message: bytes = self._pake.start()[1:]
        """The message to send."""

    def finish(self, message: bytes) -> CodeKeys:
        """Return the keys, from the sender's message; may be called once.

        Raises `ProtocolError` if no sender can have made it.
        """
        return _finish(self._pake, _SIDE_OF_SENDER + message)


class SenderPake:
    """The end that has made a code; its message does not depend on the receiver's."""

    def __init__(self, password: bytes, entropy: Callable[[int], bytes]) -> None:
        """Begin; `entropy` returns as many random bytes as it is asked for."""
        self._pake = SPAKE2_B(password, _RECEIVER, _SENDER, entropy_f=entropy)
        self.message: bytes = self._pake.start()[1:]
        """The message to send."""

    def finish(self, message: bytes) -> CodeKeys:
        """Return the keys, from the receiver's message; may be called once.

        Raises `ProtocolError` if no receiver can have made it.
        """
        return _finish(self._pake, _SIDE_OF_RECEIVER + message)


def _finish(pake: SPAKE2_A | SPAKE2_B, message: bytes) -> CodeKeys:
    try:
        key = pake.finish(message)
    except (SPAKEError, NotOnCurve, ValueError):
        raise ProtocolError("a message that is no point of the group") from None
    secret = hmac.digest(_SALT, key, "sha256")
    return CodeKeys(
        receiver_proof=expand(secret, b"receiver", PROOF_SIZE),
        sender_proof=expand(secret, b"sender", PROOF_SIZE),
        receipt=expand(secret, b"receipt", PROOF_SIZE),
        link_key=expand(secret, b"link", KEY_SIZE),
    )


def seal_once(key: bytes, data: bytes) -> bytes:
    """Encrypt the only message of a key; the result is 16 bytes longer."""
    return AESGCM(key).encrypt(_NONCE, data, None)


def unseal_once(key: bytes, data: bytes) -> bytes:
    """Decrypt what `seal_once` returned.

    Raises `ProtocolError` if it was changed, or encrypted with another key.
    """
    try:
        return AESGCM(key).decrypt(_NONCE, data, None)
    except InvalidTag:
        raise ProtocolError("a link that does not decrypt") from None
