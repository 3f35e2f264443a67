"""Read, choose and complete codes, which stand for a link for some minutes; pure.

A code is a number of four digits and three words, as in `4821-purity-carbon-olympic`.
The number and the first word are where two nodes meet: everyone may know them. The
other two words are the secret. docs/protocol.md, "Codes".
"""

from collections.abc import Callable
from typing import NamedTuple

from shoal.core.crypto.hashes import code_password, rendezvous_id
from shoal.core.crypto.keys import Keys, derive_keys
from shoal.core.names.link_text import bare_link, looks_like_code
from shoal.core.names.words import WORDS
from shoal.errors import UsageError

__all__ = ["Code", "complete_code", "complete_word", "make_code", "parse_code"]

NUMBERS = range(1000, 10_000)
PREFIX = 4  # letters that belong to one word only
_KNOWN = frozenset(WORDS)


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

    Case does not matter, nor do spaces in place of hyphens, and the first four letters
    of a word are enough. Raises `UsageError` that names a word which does not exist.
    """
    if not looks_like_code(text):
        raise UsageError(
            "A code has a number of four digits and three words, such as "
            "4821-purity-carbon-olympic; enter all of it."
        )
    text = bare_link(text)
    pieces = "".join(c if c.isalpha() else " " for c in text[4:]).split()
    first, second, third = map(_parse_word, pieces)
    return Code(int(text[:4]), (first, second, third))


def _parse_word(word: str) -> str:
    word = word.lower()
    if word in _KNOWN:
        return word
    longer = [each for each in WORDS if each.startswith(word)]
    if len(word) >= PREFIX and longer:
        return longer[0]
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
