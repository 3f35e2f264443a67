"""Find the link in what a user has copied, and tell names of channels from links; pure.

Mail programs, chats and documents put links in quotes or angle brackets, write a full
stop behind them, or percent-encode them. Such a link is used. A text that is no valid
link but was probably meant as one is refused: if it were read as the name of an open
channel, any neighbour who answers for that name could send unverified bytes.
docs/protocol.md, "Link".
"""

import re

__all__ = [
    "bare_link",
    "folded",
    "has_link_form",
    "looks_like_hash",
    "looks_like_link",
]

LEAST_LIKE = 50  # characters of base32, or hex digits, from which on a text is no name
_MOST_LAYERS = 4  # times that a text may be percent-encoded
_LENGTH = 56  # characters of base32 in a link
_WORD = "shoal"
_MOST_UNKNOWN = 2  # letters of `shoal` in scripts that `_LETTERS` does not have

# Hints after commas, which no shell interprets, as they do `?` and `&`.
_FIRST_COMMA = re.compile(rf"([a-z2-7]{{{_LENGTH}}}/?),(?=[a-z]+=)", re.I | re.A)
_COMMA = re.compile(",(?=[a-z]+=)")
# A link without its `shoal:` may still have its hints.
_FORM = re.compile(
    rf"shoal:.*|[a-z2-7]{{{_LENGTH}}}/?(?:\?.*)?", re.DOTALL | re.I | re.A
)
_SCHEME = re.compile(r"\Aweb\+(?=shoal:)", re.I | re.A)
# What may follow hints and never ends them: a port does not, and `quote_origin` encodes
# all of it.
_AFTER_HINTS = re.compile(r"""(?:[\s.,;:!?"'`)>\]}*]|[^\w\x00-\x7f])*""")
_AROUND = re.compile(r"[\W_]*")
_BASE32 = re.compile(r"[A-Za-z2-7]")
_OTHER_LETTER = re.compile(r"[^\W\x00-\x7f]")
_BROKEN = re.compile(r"[A-Za-z]*[2-7][A-Za-z2-7]*")
_HEX = re.compile(r"[0-9A-Fa-f]")
# Characters that look like a colon and are not decomposed into one.
_COLON = re.compile("[:\u02d0\u02f8\u0589\u05c3\u0703\u0704\u1361\u205a\u2236\ua789]")
# Characters, in lower case, that look like a letter of `shoal`.
_LETTERS = {
    character: letter
    for letter, characters in {
        "s": "5$\u0455\u01bd\ua731\u0282\u057d",
        "h": "\u04bb\u0570\u043d\u03b7\u13c2\u0266\u029c",
        "o": "0\u043e\u03bf\u0585\u1d0f\u0d20\u0966\u09e6\u0ed0\u101d\u10ff",
        "a": "4@\u0430\u03b1\u0251\u1d00\u237a",
        "l": "1|!i\u0456\u04cf\u03b9\u01c0\u0269\u029f\u05d5\u05df\u0627\u2223",
    }.items()
    for character in characters
}


def bare_link(text: str) -> str:
    """Return `text` without what programs and people put around a link.

    That is white space, quotes, brackets, punctuation, `web+`, and percent-encoding.
    Hints follow `?` and `&` in what remains, which need not be a link.
    """
    return _SCHEME.sub("", _without_wrapping(_decoded(text)))


def _decoded(text: str) -> str:
    """Decode percent-encoding, unless only hints have it, as they should."""
    for _ in range(_MOST_LAYERS):
        text = _with_marks(text)
        head, mark, hints = text.partition("?")
        if "%" not in head:
            break
        from urllib.parse import unquote

        text = unquote(head) + mark + hints
    return _with_marks(text)


def _with_marks(text: str) -> str:
    """Write `?` and `&` before hints that follow commas."""
    found = _FIRST_COMMA.search(text)
    if found is None:
        return text
    head, hints = text[: found.end(1)], text[found.end() :]
    return f"{head}?{_COMMA.sub('&', hints)}"


def _without_wrapping(text: str) -> str:
    text = _AROUND.sub("", text, count=1)
    after = _AFTER_HINTS if "?" in text.rstrip("?") else _AROUND
    # Read backwards: to search for what ends a long text takes quadratic time.
    return after.sub("", text[::-1], count=1)[::-1]


def has_link_form(text: str) -> bool:
    """Return True if `text` has the form of a link, with the right check or not."""
    return _FORM.fullmatch(bare_link(text)) is not None


def looks_like_link(text: str) -> bool:
    """Return True if `text` is never read as a channel: it is a link or refused."""
    bare = bare_link(text)
    # `bare` may have lost a character that looks like a letter, or a colon.
    return (
        _has_scheme(folded(text)) or _has_id(folded(bare)) or _has_scheme(folded(bare))
    )


def looks_like_hash(text: str) -> bool:
    """Return True if `text` has about as many hex digits as a hash channel's id."""
    words = bare_link(text).split()
    return any(len(_HEX.findall(each)) >= LEAST_LIKE for each in words)


def folded(text: str) -> str:
    """Return `text` without case, accents, and characters that cannot be seen."""
    if text.isascii():
        return text.lower()
    from unicodedata import category, normalize

    decomposed = normalize("NFKD", text).casefold()
    return "".join(c for c in decomposed if category(c) not in ("Mn", "Me", "Cf"))


def _has_scheme(plain: str) -> bool:
    """Return True if `shoal:` is in a text, or characters that look like it."""
    for colon in _COLON.finditer(plain):
        end = colon.start()
        word = plain[max(0, end - 2 * len(_WORD)) : end].rstrip()
        before, word = word[: -len(_WORD)], word[-len(_WORD) :]
        letters = [_LETTERS.get(each, each) for each in word]
        unlike = [
            each for each, letter in zip(letters, _WORD, strict=False) if each != letter
        ]
        is_like = len(letters) == len(_WORD) and not any(map(str.isascii, unlike))
        if is_like and len(unlike) <= _MOST_UNKNOWN and not before[-1:].isalnum():
            return True
    return False


def _has_id(plain: str) -> bool:
    """Return True if a word has about as many characters of base32 as a link."""
    words = plain.split()
    for word in words:
        count = len(_BASE32.findall(word))
        if count >= LEAST_LIKE:
            return True
        # Letters of other scripts may look like those that they replace.
        count_all = count + len(_OTHER_LETTER.findall(word))
        if count_all >= LEAST_LIKE and count >= LEAST_LIKE // 2:
            return True
    # A link that was broken into lines or groups; a sentence rarely has digits in it.
    whole = "".join(words)
    return (
        len(words) > 1 and len(whole) >= LEAST_LIKE and bool(_BROKEN.fullmatch(whole))
    )
