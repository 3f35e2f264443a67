"""The patterns of `--include` and `--exclude`, which select files of a folder.

A pattern is matched against the whole path of a file relative to the folder, with
`/` between the names:

    *       any characters except `/`       ?   one character except `/`
    **      any characters, including `/`   [abc] [a-z] [!a]   one of these, or not
    **/     any folders or none: `**/*.txt` is every .txt, `*.txt` those at the top

A pattern that matches a folder also matches everything in it: `logs` and `logs/` mean
`logs/**`. Case matters, and a leading dot is an ordinary character. A file is selected
if no exclude pattern matches it, and an include pattern does or there are none.
"""

import re
from collections.abc import Callable, Iterable

from shoal.errors import UsageError

__all__ = ["Selection", "match"]


class Selection:
    """Select paths by patterns."""

    def __init__(
        self, include: Iterable[str] = (), exclude: Iterable[str] = ()
    ) -> None:
        """Raise `UsageError` for an invalid pattern."""
        self._includes = [match(pattern) for pattern in include]
        self._excludes = [match(pattern) for pattern in exclude]

    def selects(self, path: str) -> bool:
        """Return True if the file with this path is selected."""
        if self.excludes(path):
            return False
        return not self._includes or any(each(path) for each in self._includes)

    def excludes(self, path: str) -> bool:
        """Return True if a file, or a folder with everything in it, is excluded."""
        return any(each(path) for each in self._excludes)


def match(pattern: str) -> Callable[[str], bool]:
    """Return a function that returns True if a pattern matches a path.

    Raises `UsageError` for an empty pattern or one with an unclosed `[`.
    """
    stripped = pattern.strip("/")
    if not stripped:
        raise UsageError(
            "A pattern cannot be empty; give the name of a file or folder."
        )
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
    """Return the regular expression of a bracketed set, and the set's length."""
    end = rest.find("]", 3 if rest[1:2] == "!" else 2)
    if end < 0:
        raise UsageError(f"The pattern {pattern!r} has a [ without a ]; add it.")
    inside = rest[1:end]
    negated = inside.startswith("!")
    inside = re.sub(r"([\\^\[\]&~|])", r"\\\1", inside[negated:])
    try:
        re.compile(f"[{inside}]")
    except re.error as error:
        raise UsageError(f"The pattern {pattern!r} is invalid: {error}.") from error
    return f"(?!/)[{'^' if negated else ''}{inside}]", end + 1
