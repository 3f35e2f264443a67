"""Give the link of a share to nodes that know its code; pure.

    receiver → sender   greeting, 32 bytes: the receiver's message of the PAKE
    sender → receiver   greeting, 32 bytes: the sender's
    receiver → sender   proof, 32 bytes
    sender → receiver   verdict, 8,242 bytes: result 1, guesses left 1, proof 32,
                        encrypted link 8,208; after result 0 or 2 the rest is zero
    receiver → sender   receipt, 32 bytes

These are the bytes of a connection whose handshake both ends have made with the number
and the first word of the code (docs/protocol.md, "Codes"). All have a fixed size, so
neither their lengths nor a parser tell anything. `CodeOffer` counts for all connections
of a sender; `SenderExchange` and `ReceiverExchange` are the two ends of one.
"""

import hmac
from collections.abc import Callable
from typing import NamedTuple

from shoal.core.crypto.pake import (
    MESSAGE_SIZE,
    PROOF_SIZE,
    CodeKeys,
    ReceiverPake,
    SenderPake,
    seal_once,
    unseal_once,
)
from shoal.core.limits import MAX_GUESSES
from shoal.core.names.code import Code
from shoal.errors import ProtocolError, UsageError, option

__all__ = [
    "GREETING_SIZE",
    "VERDICT_SIZE",
    "CodeOffer",
    "Given",
    "ReceiverExchange",
    "Refused",
    "SenderExchange",
]

GREETING_SIZE = MESSAGE_SIZE  # bytes
ROOM = 8192  # bytes for a link, with its length of two bytes and zeros behind it
LENGTH_SIZE = 2  # bytes
TAG_SIZE = 16  # bytes
VERDICT_SIZE = 2 + PROOF_SIZE + ROOM + TAG_SIZE  # bytes
WRONG, GIVEN, IN_USE = 0, 1, 2  # results
_OVER = "a code that is no longer valid"

Entropy = Callable[[int], bytes]


class Given(NamedTuple):
    """A verdict with the link."""

    link: str
    receipt: bytes
    """The bytes to send back."""


class Refused(NamedTuple):
    """A verdict without the link; nothing proves that it is the true sender's."""

    is_in_use: bool
    """Whether the code was right, but other receivers are using it."""
    guesses_left: int


class CodeOffer:
    """Count guesses and receivers of one code, over all its connections."""

    def __init__(
        self, code: Code, link: str, *, receivers: int, entropy: Entropy
    ) -> None:
        """Offer `link` to that many receivers.

        `entropy` returns as many random bytes as it is asked for. Raises `UsageError`
        if the link is too long.
        """
        text = link.encode()
        if len(text) > ROOM - LENGTH_SIZE:
            raise UsageError(
                f"The link is longer than {ROOM - LENGTH_SIZE} bytes, too long for a "
                f"code; shorten {option('--origin')}."
            )
        padded = len(text).to_bytes(LENGTH_SIZE) + text
        self._padded = padded.ljust(ROOM, b"\0")
        self._password = code.password
        self._entropy = entropy
        self._next: SenderPake | None = None
        self.guesses_left = MAX_GUESSES
        """Wrong proofs that end the code."""
        self.receivers_left = receivers
        """Receivers that the link can still be sent to."""
        self._unconfirmed = 0  # receivers that have not sent their receipt
        self._is_ended = False

    @property
    def is_over(self) -> bool:
        """Return True if no further receiver can get the link."""
        is_used = not self.receivers_left and not self._unconfirmed
        return self._is_ended or is_used or not self.guesses_left

    def end(self) -> None:
        """Accept no further proof, for example because the time is over."""
        self._is_ended = True

    def prepare(self) -> None:
        """Compute the message of the next connection, unless that is done.

        Then the time to answer does not depend on the secret: the package computes in
        Python alone, whose arithmetic does not take constant time.
        """
        if self._next is None and not self.is_over:
            self._next = SenderPake(self._password, self._entropy)

    def begin(self) -> "SenderExchange":
        """Return the sender's end of a new connection.

        Raises `ProtocolError` if the code is over.
        """
        if self.is_over:
            raise ProtocolError(_OVER)
        self.prepare()
        pake, self._next = self._next, None
        assert pake is not None
        return SenderExchange(self, pake)

    def judge(self, pake: SenderPake, greeting: bytes, proof: bytes) -> CodeKeys | int:
        """Return the keys of a receiver with a right proof, or why it is refused.

        Raises `ProtocolError` if the code is over.
        """
        if self.is_over:
            raise ProtocolError(_OVER)
        try:
            keys = pake.finish(greeting)
        except ProtocolError:
            keys = None
        if keys is None or not hmac.compare_digest(keys.receiver_proof, proof):
            self.guesses_left -= 1
            return WRONG
        if not self.receivers_left:
            return IN_USE
        self.receivers_left -= 1
        self._unconfirmed += 1
        return keys

    def link_for(self, keys: CodeKeys) -> bytes:
        """Return the encrypted link for a receiver with a right proof."""
        return seal_once(keys.link_key, self._padded)

    def on_end(self, *, has_receipt: bool) -> None:
        """Note the end of an exchange that sent the link; without receipt, take back.

        A receiver whose connection was lost may try again.
        """
        self._unconfirmed -= 1
        self.receivers_left += not has_receipt


class SenderExchange:
    """The sender's end of one connection: at most one guess."""

    def __init__(self, offer: CodeOffer, pake: SenderPake) -> None:
        """Use a PAKE that no other connection uses."""
        self._offer = offer
        self._pake: SenderPake | None = pake
        self._keys: CodeKeys | None = None
        self.greeting = pake.message
        """The answer to the receiver's greeting."""

    def answer(self, greeting: bytes, proof: bytes) -> bytes:
        """Return the verdict on a proof; may be called once.

        Raises `ProtocolError` if the code is over, or on a second call.
        """
        pake, self._pake = self._pake, None
        if pake is None:
            raise ProtocolError("a second proof on one connection")
        judged = self._offer.judge(pake, greeting, proof)
        left = self._offer.guesses_left
        if isinstance(judged, int):
            return bytes((judged, left)).ljust(VERDICT_SIZE, b"\0")
        self._keys = judged
        head = bytes((GIVEN, left)) + judged.sender_proof
        return head + self._offer.link_for(judged)

    @property
    def is_given(self) -> bool:
        """Return True if the verdict has the link; then a receipt follows."""
        return self._keys is not None

    def end(self, receipt: bytes = b"") -> bool:
        """End the exchange; return True if the receiver has the link. Idempotent."""
        keys, self._keys = self._keys, None
        if keys is None:
            return False
        has_receipt = hmac.compare_digest(keys.receipt, receipt)
        self._offer.on_end(has_receipt=has_receipt)
        return has_receipt


class ReceiverExchange:
    """The receiver's end of one connection."""

    def __init__(self, code: Code, entropy: Entropy) -> None:
        """Begin; `entropy` returns as many random bytes as it is asked for."""
        self._pake = ReceiverPake(code.password, entropy)
        self._keys: CodeKeys | None = None
        self.greeting = self._pake.message
        """The bytes to send first."""

    def prove(self, greeting: bytes) -> bytes:
        """Return the proof to send after the sender's greeting.

        A node that pretends to be the sender can test one guess with it. Raises
        `ProtocolError` if no sender can have made the greeting.
        """
        self._keys = self._pake.finish(greeting)
        return self._keys.receiver_proof

    def read(self, verdict: bytes) -> Given | Refused:
        """Return what a verdict of `VERDICT_SIZE` bytes says.

        Raises `ProtocolError` if it is not from a node that knows the code, although it
        says that it has the link.
        """
        keys = self._keys
        assert keys is not None
        result, left = verdict[:2]
        if result in (WRONG, IN_USE):
            return Refused(result == IN_USE, min(left, MAX_GUESSES))
        proof, sealed = verdict[2 : 2 + PROOF_SIZE], verdict[2 + PROOF_SIZE :]
        is_right = hmac.compare_digest(keys.sender_proof, proof)
        if result != GIVEN or not is_right:
            raise ProtocolError("a node that does not know the code")
        padded = unseal_once(keys.link_key, sealed)
        size = int.from_bytes(padded[:LENGTH_SIZE])
        try:
            return Given(padded[LENGTH_SIZE:][:size].decode(), keys.receipt)
        except UnicodeDecodeError:
            raise ProtocolError("a link that is not text") from None
