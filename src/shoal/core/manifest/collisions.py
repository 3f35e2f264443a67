"""Find paths of one share that cannot exist side by side on every system; pure.

Two paths collide if they, or folders in them, differ only by case, by Unicode form or
invisibly, or if one path is a folder of the other. docs/protocol.md, "Safe paths".

A share may have millions of paths, so they are not held at the same time. In the order
of the paths each folder is entered once. If no two files or folders are equal after
folding, then each folded path occurs once; so it is enough to keep a hash of each, and
to look a second time only for those that occur twice.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from unicodedata import normalize

from shoal.core.manifest.paths import INVISIBLE, in_lines, plain_problem, shown

__all__ = ["MAX_FOLDERS", "collision", "paths_problem", "problem_of_all"]

MAX_FOLDERS = 1 << 22  # in one share
_BUCKETS = 256  # groups of hashes, of which one at a time becomes a set


def problem_of_all(pages: Callable[[], Iterable[Sequence[str]]]) -> str | None:
    """Return why the paths of a share cannot be together, or None.

    `pages` returns an iterator of all paths, each valid by itself, in their order; it
    is called again only to name the two that collide.
    """
    buckets = [array("q") for _ in range(_BUCKETS)]
    folders = 0
    last = ""
    for paths in pages():
        for key in _compared_all(paths):
            number = hash(key)
            buckets[number % _BUCKETS].append(number)
        for folder in _entered(last, paths):
            folders += 1
            if folders > MAX_FOLDERS:
                return f"it has more than {MAX_FOLDERS} folders"
            number = hash(_compared(folder))
            buckets[number % _BUCKETS].append(number)
        last = paths[-1] if paths else last
    suspects = {number for each in buckets for number in _repeated(each)}
    pair = _find_pair(pages(), suspects) if suspects else None
    if pair is None:
        return None
    one, other = map(shown, pair)
    return f"the paths {one} and {other} cannot exist side by side on every system"


def collision(paths: Sequence[str]) -> tuple[str, str] | None:
    """Return two of `paths`, in any order, that cannot be in one share, or None."""
    ordered = sorted(paths)
    seen: set[int] = set()
    suspects: set[int] = set()
    for _, key in _keys([ordered]):
        (suspects if hash(key) in seen else seen).add(hash(key))
    return _find_pair([ordered], suspects) if suspects else None


def paths_problem(paths: Sequence[str]) -> str | None:
    """Return what is wrong with paths, each by itself and all together, or None."""
    return plain_problem(paths) or problem_of_all(lambda: [sorted(paths)])


def _repeated(numbers: "array[int]") -> Iterator[int]:
    """Yield the numbers that occur more than once."""
    if len(set(numbers)) < len(numbers):
        yield from {one for one, other in pairwise(sorted(numbers)) if one == other}


def _find_pair(
    pages: Iterable[Sequence[str]], suspects: set[int]
) -> tuple[str, str] | None:
    """Return the first two paths with the same key among those with these hashes."""
    found: dict[str, str] = {}
    for path, key in _keys(pages):
        if hash(key) in suspects:
            if key in found:
                return found[key], path
            found[key] = path
    return None


def _keys(pages: Iterable[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield each path with its key, after it the keys of the folders it enters."""
    last = ""
    for paths in pages:
        for path, key in zip(paths, _compared_all(paths), strict=True):
            for folder in _entered(last, (path,)):
                yield path, _compared(folder)
            yield path, key
            last = path


def _entered(last: str, paths: Sequence[str]) -> Iterator[str]:
    """Yield the folders of `paths` that neither `last` nor a path before is in."""
    before = last.rpartition("/")[0]
    for path in paths:
        folder = path.rpartition("/")[0]
        if folder == before:
            continue
        names, others = folder.split("/"), before.split("/")
        same = 0
        for name, other in zip(names, others, strict=False):
            if name != other:
                break
            same += 1
        before = folder
        if folder:
            for end in range(same + 1, len(names) + 1):
                yield "/".join(names[:end])


def _compared_all(paths: Sequence[str]) -> list[str]:
    """Return `_compared` of each path."""
    text = in_lines(paths)
    if text is None:
        return [_compared(path) for path in paths]
    return text.lower().split("\n")[1:-1]


def _compared(path: str) -> str:
    """Return a path as file systems compare it that ignore case and Unicode form."""
    if path.isascii():
        return path.lower()
    # Unicode 15, D145: canonical caseless matching.
    folded = normalize("NFD", normalize("NFD", path).casefold())
    return INVISIBLE.sub("", folded)
