"""Read, choose and complete codes, which stand for a link for some minutes; pure.

A code is a number of four digits and three words, as in `4821-purity-carbon-olympic`.
The number and the first word are where two nodes meet: everyone may know them. The
other two words are the secret. docs/protocol.md, "Codes".
"""

from collections.abc import Callable
from typing import NamedTuple

from shoal.core.crypto.hashes import code_password, rendezvous_id
from shoal.core.crypto.keys import Keys, derive_keys
from shoal.core.names.code_words import WORDS, full_word, has_code_form, parts_of
from shoal.errors import UsageError

__all__ = ["Code", "complete_code", "complete_word", "make_code", "parse_code"]

NUMBERS = range(1000, 10_000)


class Code(NamedTuple):
    """Name the place where two nodes meet, and the secret that they share."""

    number: int
    """Of four digits; `make_code` makes no number below 1,000."""
    words: tuple[str, str, str]

    def __str__(self) -> str:
        return "-".join((f"{self.number:04}", *self.words))

    def __repr__(self) -> str:
        return f"<Code {self.rendezvous}>"

    @property
    def rendezvous(self) -> str:
        """Return the number and the first word, which need not be secret."""
        return f"{self.number:04}-{self.words[0]}"

    @property
    def keys(self) -> Keys:
        """Return the keys and topics with which two nodes find each other."""
        return derive_keys(rendezvous_id(self.rendezvous.encode()))

    @property
    def password(self) -> bytes:
        """Return the 32 bytes that both ends give to the PAKE.

        They depend on the whole code, so the same words are another secret elsewhere.
        """
        return code_password(str(self).encode())


def make_code(entropy: Callable[[int], bytes]) -> Code:
    """Return a new code; `entropy` returns as many random bytes as it is asked for."""
    drawn = int.from_bytes(entropy(32))  # so many that every code is equally likely
    drawn, number = divmod(drawn, len(NUMBERS))
    drawn, first = divmod(drawn, len(WORDS))
    drawn, second = divmod(drawn, len(WORDS))
    third = drawn % len(WORDS)
    return Code(NUMBERS[number], (WORDS[first], WORDS[second], WORDS[third]))


def parse_code(text: str) -> Code:
    """Return the code in `text`: `parse_code("4821 Purity Carbon Olympic")`.

    Case does not matter, nor what stands between the parts, and the first four letters
    of a word are enough. Raises `UsageError` that names a word which does not exist.
    """
    parts = parts_of(text)
    if parts is None or not has_code_form(text) or not parts.digits.isascii():
        raise UsageError(
            "A code has a number of four digits and three words, such as "
            "4821-purity-carbon-olympic; enter all of it."
        )
    readings = parts.readings
    if len(readings) > 1:
        raise UsageError(
            "This code can be read in several ways; enter it with hyphens between its "
            "words."
        )
    first, second, third = readings.pop() if readings else map(_parse_word, parts.runs)
    return Code(int(parts.digits), (first, second, third))


def _parse_word(word: str) -> str:
    if word in WORDS:
        return word
    if longer := full_word(word):
        return longer
    from difflib import get_close_matches

    near = get_close_matches(word, WORDS, 1)
    hint = f"; did you mean {near[0]}?" if near else "; ask the sender for the code."
    raise UsageError(f"{word[:40]} is not one of the words of codes{hint}")


def complete_code(begun: str) -> list[str]:
    """Return the texts to which the last word of a begun code can be completed."""
    number, *words = begun.split("-")
    if len(number) != 4 or not number.isdecimal() or not 1 <= len(words) <= 3:
        return []
    start = begun[: len(begun) - len(words[-1])]
    return [start + word for word in complete_word(words[-1])]


def complete_word(begun: str) -> list[str]:
    """Return the words of codes that begin with `begun`."""
    return [word for word in WORDS if word.startswith(begun.lower())]
