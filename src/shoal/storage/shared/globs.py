"""Which files of a folder are meant by `--include` and `--exclude`.

A pattern is matched against the whole path of a file relative to the folder, with
`/` between the names:

    *       any characters but `/`          ?   one character but `/`
    **      any characters, `/` too         [abc] [a-z] [!a]   one of these, or not
    **/     any folders, or none: `**/*.txt` is every .txt, `*.txt` those at the top

A pattern that matches a folder covers all that is in it: `logs` and `logs/` mean
`logs/**`. Letters count as they are written, and so does a dot at the beginning.
A file is taken if no pattern that excludes covers it, and one that includes does,
or there is none.
"""

import re
from collections.abc import Callable, Iterable

from shoal.errors import UsageError

__all__ = ["Selection", "match"]


class Selection:
    """Decide by patterns which paths are taken."""

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()):
        """Raise `UsageError` for a pattern that cannot be one."""
        self._includes = [match(pattern) for pattern in include]
        self._excludes = [match(pattern) for pattern in exclude]

    def takes(self, path: str) -> bool:
        """Say whether the file of this path is taken."""
        if self.leaves_out(path):
            return False
        return not self._includes or any(each(path) for each in self._includes)

    def leaves_out(self, path: str) -> bool:
        """Say whether a file or folder, with all that is in it, is excluded."""
        return any(each(path) for each in self._excludes)


def match(pattern: str) -> Callable[[str], bool]:
    """Return what says whether a pattern covers a path.

    Raises `UsageError` for an empty pattern or one with a `[` that is not closed.
    """
    stripped = pattern.strip("/")
    if not stripped:
        raise UsageError("A pattern cannot be empty; name a file or folder.")
    expression = re.compile(_translate(stripped) + "(?:/.*)?", re.DOTALL)
    return lambda path: expression.fullmatch(path) is not None


def _translate(pattern: str) -> str:
    parts: list[str] = []
    place = 0
    while place < len(pattern):
        rest = pattern[place:]
        if rest.startswith("**/"):
            parts.append("(?:.*/)?")
            place += 3
        elif rest.startswith("**"):
            parts.append(".*")
            place += 2
        elif rest[0] in "*?":
            parts.append("[^/]*" if rest[0] == "*" else "[^/]")
            place += 1
        elif rest[0] == "[":
            inside, length = _translate_set(pattern, rest)
            parts.append(inside)
            place += length
        else:
            parts.append(re.escape(rest[0]))
            place += 1
    return "".join(parts)


def _translate_set(pattern: str, rest: str) -> tuple[str, int]:
    """Return the expression of a set in brackets, and how many characters it has."""
    end = rest.find("]", 3 if rest[1:2] == "!" else 2)
    if end < 0:
        raise UsageError(f"The pattern {pattern!r} has a [ that is not closed.")
    inside = rest[1:end]
    negated = inside.startswith("!")
    inside = re.sub(r"([\\^\[\]&~|])", r"\\\1", inside[negated:])
    try:
        re.compile(f"[{inside}]")
    except re.error as error:
        raise UsageError(f"The pattern {pattern!r} cannot be read: {error}.") from error
    return f"(?!/)[{'^' if negated else ''}{inside}]", end + 1
