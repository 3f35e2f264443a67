"""Decide which paths a share may hold, so that a download stays in its folder; pure.

The maker of a link chooses its paths. A path is refused, and the whole manifest with
it, if it could be written outside the download's folder, if it means something else on
another system, or if it collides there with another path (`collisions`). No path is
repaired, because a repaired path is a second chance for an attacker. The same rules
apply when a share is made, so that every system can write what any system shares.
docs/protocol.md, "Safe paths".

Some rules go beyond what is dangerous on Linux:

- A colon, a backslash and Windows' reserved names (`aux.c`) are refused everywhere.
- Characters that change the direction of text (U+202A to U+202E, U+2066 to U+2069) are
  refused: they make `gpj.exe` look like `exe.jpg`. Other invisible characters, which
  real names in Persian or with emoji need, are allowed, but names that differ only in
  them collide, as they do on HFS+.

The functions return a problem as the end of a sentence, or None, because only the
caller knows whether the user or a link is to blame.
"""

import re
from collections.abc import Sequence

__all__ = [
    "INVISIBLE",
    "MAX_DEPTH",
    "MAX_NAME_SIZE",
    "MAX_PATH_SIZE",
    "find_problem",
    "hides",
    "in_lines",
    "name_problem",
    "path_problem",
    "plain_problem",
    "shown",
]

MAX_NAME_SIZE = 255  # bytes of UTF-8 in one component; NAME_MAX of common file systems
MAX_PATH_SIZE = 4000  # bytes of UTF-8; PATH_MAX less room for the folder above
MAX_DEPTH = 128  # components of one path
MAX_KNOWN = 65_536  # checked names that are remembered for one share
MAX_SHOWN = 120  # characters of a path in a message

_BAD_CHARACTER = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: terminals execute them
    "\u2028\u2029"  # line and paragraph separator
    "\u202a-\u202e\u2066-\u2069"  # direction
    "\ud800-\udfff"  # lone surrogates: not UTF-8
    "/\\\\:]"
)
# Characters that HFS+ ignores when it compares names (Apple's TN1150), and U+00AD, the
# tags and the variation selectors, which are invisible, too.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u2060-\u2064\u206a-\u206f"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
_NUMBERED = "123456789\u00b9\u00b2\u00b3"
_RESERVED = frozenset(
    ("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$")
    + tuple(device + number for device in ("COM", "LPT") for number in _NUMBERED)
)
# Each finds one kind of problem in plain paths that are separated by line ends.
_SUSPECT = tuple(
    re.compile(pattern)
    for pattern in (
        "[\x00-\x09\x0b-\x1f\x7f\\\\:]",
        "[. ][/\n]",
        "[/\n](?:[/\n]"  # an empty name, next to a slash
        "|(?:con|prn|aux|nul|conin\\$|conout\\$|com[1-9]|lpt[1-9]) *[./\n])",
    )
)
# A path this short has neither too long a name nor too many folders.
_MAX_PLAIN_SIZE = min(MAX_NAME_SIZE, 2 * MAX_DEPTH - 1)


def name_problem(name: str) -> str | None:
    """Return what is wrong with `name` as one component of a path, or None."""
    if not name:
        return "has an empty name in it"
    if name in (".", ".."):
        return f"has {name!r} in it"
    bad = _BAD_CHARACTER.search(name)
    if bad is not None:
        return _character_problem(bad[0])
    if name[-1] in ". ":
        return "cannot exist on Windows, where no name ends with a dot or a space"
    device = name.partition(".")[0].rstrip(" ").upper()
    if device in _RESERVED:
        return f"cannot exist on Windows, where {device} is a device"
    size = len(name) if name.isascii() else len(name.encode())
    if size > MAX_NAME_SIZE:
        return f"has a name of {size} bytes in it, more than {MAX_NAME_SIZE}"
    if size == len(name):
        return None
    seen = INVISIBLE.sub("", name)
    # A name must not become empty or `..` on a system that ignores these characters.
    return None if seen == name else name_problem(seen)


def _character_problem(bad: str) -> str:
    """Return what is wrong with a name that has a forbidden character."""
    if "\ud800" <= bad <= "\udfff":
        # Python has these for bytes of a name that it could not decode.
        return "is not valid UTF-8, or needs a UTF-8 locale (set LC_ALL=C.UTF-8)"
    named = f"'{bad}'" if bad.isprintable() else f"U+{ord(bad):04X}"
    return f"has {named} in it"


def hides(name: str) -> bool:
    """Return True if a name hides what has it, or if programs read it as an option."""
    return name.startswith((".", "-"))


def path_problem(path: str) -> str | None:
    """Return what is wrong with `path` by itself, or None."""
    return _path_problem(path, set())


def plain_problem(paths: Sequence[str]) -> str | None:
    """Return what is wrong with one of these paths by itself, with it, or None."""
    found = find_problem(paths)
    return None if found is None else f"the path {shown(found[0])} {found[1]}"


def find_problem(paths: Sequence[str]) -> tuple[str, str] | None:
    """Return the first path with which something is wrong by itself, and what."""
    if not _are_plain(paths):
        known: set[str] = set()
        for path in paths:
            problem = _path_problem(path, known)
            if problem is not None:
                return path, problem
    return None


def shown(path: str) -> str:
    """Return `path` in a form that is safe to print: quoted, escaped and shortened."""
    return repr(path if len(path) <= MAX_SHOWN else path[:MAX_SHOWN] + "…")


def _are_plain(paths: Sequence[str]) -> bool:
    """Return True if certainly nothing is wrong with any path by itself.

    To check all of them at once takes a fifth of the time. False does not mean that
    there is a problem.
    """
    text = in_lines(paths)
    if text is None or max(map(len, paths), default=0) > _MAX_PLAIN_SIZE:
        return False
    text = text.lower()
    return not any(suspect.search(text) for suspect in _SUSPECT)


def in_lines(paths: Sequence[str]) -> str | None:
    """Return the paths with a line end before and after each; None unless all ASCII."""
    text = "\n".join(("", *paths, ""))
    is_plain = text.isascii() and text.count("\n") == len(paths) + 1
    return text if is_plain else None


def _path_problem(path: str, known: set[str]) -> str | None:
    """Return what is wrong with `path`; names in `known` are valid, and are added."""
    size = len(path) if path.isascii() else len(path.encode(errors="replace"))
    if size > MAX_PATH_SIZE:
        return f"has {size} bytes, more than {MAX_PATH_SIZE}"
    if path.startswith("/"):
        return "is absolute"
    names = path.split("/")
    if len(names) > MAX_DEPTH:
        return f"is more than {MAX_DEPTH} folders deep"
    for name in names:
        if name not in known:
            problem = name_problem(name)
            if problem is not None:
                return problem
            if len(known) >= MAX_KNOWN:
                known.clear()
            known.add(name)
    return None
