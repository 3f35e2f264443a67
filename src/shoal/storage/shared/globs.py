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
import sys
from collections.abc import Callable, Iterable

from shoal.errors import UsageError, told

__all__ = ["Selection", "match", "patterns_ignored"]


def patterns_ignored() -> str:
    """Return the message about patterns for a share that has no files to select."""
    return (
        "This share is a single file; "
        f"{told('--include and --exclude', 'include and exclude')} select files of a "
        "folder, so they have no effect."
    )


_WILD = re.compile(r"[*?[]")
_WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
# A set has at least one character, which may be a `]`.
_TOKEN = re.compile(r"\*\*/|\*\*|\[(?:!.|[^!])[^]]*\]|.", re.DOTALL)


class Selection:
    """Select paths by patterns."""

    def __init__(
        self, include: Iterable[str] = (), exclude: Iterable[str] = ()
    ) -> None:
        """Raise `UsageError` for an invalid pattern."""
        include = tuple(include)
        self._includes = [match(pattern) for pattern in include]
        self._literals = [pattern.strip("/") for pattern in include]
        self._excludes = [match(pattern) for pattern in exclude]
        self.is_everything = not self._includes and not self._excludes
        """Whether there is no pattern, so every path is selected."""

    def selects(self, path: str) -> bool:
        """Return True if the file with this path is selected."""
        if self.is_everything:
            return True
        if self.excludes(path):
            return False
        return not self._includes or any(each(path) for each in self._includes)

    @property
    def ranges(self) -> list[tuple[str, str | None]]:
        """Return ranges of paths, as (first, end), outside of which none is selected.

        An end of None is the end of all paths.
        """
        if not self._literals:
            return [("", None)]
        found: list[tuple[str, str | None]] = []
        for pattern in self._literals:
            wild = _WILD.search(pattern)
            if wild is None:
                found += [(pattern, pattern + "\0"), (pattern + "/", pattern + "0")]
                continue
            start = pattern[: wild.start()]
            last = ord(start[-1]) if start else sys.maxunicode
            end = start[:-1] + chr(last + 1) if last < sys.maxunicode else None
            found.append((start, end) if end is not None else ("", None))
        return found

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
    """Return the regular expression of a pattern."""

    def translate(token: re.Match[str]) -> str:
        text = token[0]
        if text[0] == "[":
            return _translate_set(pattern, text)
        return _WILDCARDS.get(text) or re.escape(text)

    return _TOKEN.sub(translate, pattern)


def _translate_set(pattern: str, text: str) -> str:
    """Return the regular expression of a bracketed set."""
    if text == "[":
        raise UsageError(f"The pattern {pattern!r} has a [ without a ]; add it.")
    inside = text[1:-1]
    negated = inside.startswith("!")
    inside = re.sub(r"([\\^\[\]&~|])", r"\\\1", inside[negated:])
    try:
        re.compile(f"[{inside}]")
    except re.error as error:
        raise UsageError(
            f"The pattern {pattern!r} is invalid: {error}; correct it."
        ) from error
    return f"(?!/)[{'^' if negated else ''}{inside}]"
