"""Hostile trees of file pages, each of which disagrees with itself in one place.

A valid tree with two levels of index pages is changed in one place before its pages are
encoded, so that all hashes are right.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from shoal.core.crypto.hashes import page_digest
from shoal.core.manifest.pages import FILES, PageKey
from tests.core.reference import msgpack

FILL = 61_000
LEAVES = 240  # of 16 files each, below 15 index pages, below the top
PER_PAGE = 16
SPREAD = "pages of one file each"


@dataclass
class Node:
    """A page that is not encoded yet."""

    level: int
    number: int
    offset: int
    entries: list[list[Any]] = field(default_factory=list)
    """The files of a leaf."""
    below: list["Node"] = field(default_factory=list)
    claims: dict[str, Any] = field(default_factory=dict)
    """What the page above says of it, in place of what is true."""
    wrap: Callable[[bytes], bytes] = lambda page: page
    """Changes the encoded page."""

    @property
    def path(self) -> str:
        return self.entries[0][0] if not self.level else self.below[0].path


def path_of(number: int) -> str:
    """Return a path of 3,900 bytes; they ascend."""
    return f"{number:06}" + ("/" + "x" * 248) * 15 + "/" + "y" * 150


def valid_tree() -> Node:
    """Return a tree of three levels; its files have one byte each."""
    leaves = []
    for first in range(0, LEAVES * PER_PAGE, PER_PAGE):
        files = [[path_of(i), 1, False] for i in range(first, first + PER_PAGE)]
        leaves.append(Node(0, first, first, files))
    middle = [
        Node(1, leaves[i].number, leaves[i].offset, below=leaves[i : i + PER_PAGE])
        for i in range(0, LEAVES, PER_PAGE)
    ]
    return Node(2, 0, 0, below=middle)


VALID = valid_tree()


_encoded: dict[tuple[Any, ...], bytes] = {}


def _packed(rows: list[list[Any]]) -> bytes:
    """Encode an array; most pages are those of another tree."""
    key = tuple((*row, *map(type, row)) for row in rows)
    if key not in _encoded:
        _encoded[key] = msgpack(rows)
    return _encoded[key]


def copy_of(node: Node) -> Node:
    """Return a tree that can be changed by itself."""
    entries = [*map(list, node.entries)]
    below = [*map(copy_of, node.below)]
    return Node(node.level, node.number, node.offset, entries, below)


def encode(node: Node, pages: dict[PageKey, bytes]) -> bytes:
    """Encode a page after those below it; return its hash."""
    below: list[list[Any]] = []
    for each in node.below:
        digest = encode(each, pages)
        row = {"path": each.path, "number": each.number, "offset": each.offset}
        row |= {"digest": digest, **each.claims}
        below.append([*row.values()])
    page = node.wrap(_packed(below if node.level else node.entries))
    pages[PageKey(FILES, node.level, node.number)] = page
    return page_digest(page)


def changes() -> Iterator[tuple[str, Callable[[Node], object]]]:
    """Yield what is wrong with a tree, and the function that makes it so."""
    for where, find in (
        ("the first leaf", lambda t: t.below[0].below[0]),
        ("a leaf", lambda t: t.below[3].below[5]),
        ("the last leaf of a page", lambda t: t.below[3].below[-1]),
        ("the last leaf", lambda t: t.below[-1].below[-1]),
        ("the first page", lambda t: t.below[0]),
        ("a page", lambda t: t.below[7]),
        ("the last page", lambda t: t.below[-1]),
    ):
        yield from _claims(where, find)
    for where, find in (
        ("the first leaf", lambda t: t.below[0].below[0]),
        ("a leaf", lambda t: t.below[3].below[5]),
        ("the last leaf of a page", lambda t: t.below[3].below[-1]),
    ):
        yield from _leaves(where, find)
    for where, find in (
        ("the top", lambda t: t),
        ("the first page", lambda t: t.below[0]),
        ("a page", lambda t: t.below[7]),
        ("the last page", lambda t: t.below[-1]),
    ):
        yield from _indexes(where, find)


_Find = Callable[[Node], Node]


def _claims(where: str, find: _Find) -> Iterator[tuple[str, Callable[[Node], object]]]:
    """Yield pages of which the page above says something that is not true."""
    wrong: dict[str, tuple[Any, ...]] = {
        "path": ("", "000000", "zzzzzz", "../x", "a\x00", "a" * 4001, b"x", None, 5)
        + ("\u202e", path_of(1), path_of(3000)),
        "number": (-1, 0, 1, 999, 3840, 3841, 1 << 40, (1 << 64) - 1, "1", None, 1.0)
        + (True,),
        "offset": (-1, 1, 999, 3841, 1 << 40, (1 << 64) - 1, "1", None, True),
        "digest": (b"", bytes(31), bytes(33), "x" * 32, None),
    }
    for key, values in wrong.items():
        for value in values:

            def change(tree: Node, key: str = key, value: Any = value) -> bool:
                node = find(tree)
                node.claims[key] = value
                # That the first page begins at 0 is true.
                return value == getattr(node, key, None) and type(value) is int

            shown = ascii(value)
            yield f"{where}: {key} {shown[:30]} ({len(shown)})", change


def _leaves(where: str, find: _Find) -> Iterator[tuple[str, Callable[[Node], object]]]:
    """Yield leaves that are wrong in themselves or beside others."""
    far, near = path_of(3000), path_of(1)

    def entries(change: Callable[[list[list[Any]]], object]) -> Callable[[Node], None]:
        def changed(tree: Node) -> None:
            change(find(tree).entries)

        return changed

    yield f"{where}: a file is missing", entries(lambda e: e.pop())
    yield (
        f"{where}: a file more",
        entries(lambda e: e.append([e[-1][0][:6] + "zz", 0, False])),
    )
    yield f"{where}: half its files", entries(lambda e: e.__delitem__(slice(8, None)))
    yield (
        f"{where}: no file but the first",
        entries(lambda e: e.__delitem__(slice(1, None))),
    )
    yield f"{where}: not sorted", entries(lambda e: e.insert(1, e.pop()))
    yield f"{where}: sizes more", entries(lambda e: e[3].__setitem__(1, 2))
    yield f"{where}: sizes less", entries(lambda e: e[3].__setitem__(1, 0))
    yield f"{where}: a path twice", entries(lambda e: e[4].__setitem__(0, e[3][0]))
    yield (
        f"{where}: a path of a later page",
        entries(lambda e: e[-1].__setitem__(0, far)),
    )
    yield (
        f"{where}: a path of an earlier page",
        entries(lambda e: e[5].__setitem__(0, near)),
    )
    yield (
        f"{where}: an unsafe path",
        entries(lambda e: e[5].__setitem__(0, e[5][0] + "/..")),
    )
    yield (
        f"{where}: a device",
        entries(lambda e: e[5].__setitem__(0, e[4][0] + "/aux.c")),
    )
    yield f"{where}: a negative size", entries(lambda e: e[5].__setitem__(1, -1))


def _indexes(where: str, find: _Find) -> Iterator[tuple[str, Callable[[Node], object]]]:
    """Yield index pages that are wrong in themselves."""

    def below(change: Callable[[list[Node]], object]) -> Callable[[Node], None]:
        def changed(tree: Node) -> None:
            change(find(tree).below)

        return changed

    def wrapped(wrap: Callable[[bytes], bytes]) -> Callable[[Node], None]:
        def changed(tree: Node) -> None:
            find(tree).wrap = wrap

        return changed

    yield f"{where}: not sorted", below(lambda b: b.insert(2, b.pop(1)))
    yield f"{where}: a page twice", below(lambda b: b.__setitem__(2, b[1]))
    yield f"{where}: a page is missing", below(lambda b: b.pop(1))
    yield f"{where}: half its pages", below(lambda b: b.__delitem__(slice(8, None)))
    yield (
        f"{where}: only its first page",
        below(lambda b: b.__delitem__(slice(1, None))),
    )
    yield f"{where}: no page", wrapped(lambda page: b"\x90")
    yield f"{where}: bytes after it", wrapped(lambda page: page + b"\x00")
    yield f"{where}: cut", wrapped(lambda page: page[:-1])
    yield (
        f"{where}: another head",
        wrapped(
            lambda p: (
                b"\xdd\0\0" + p[1:]
                if p[0] == 0xDC
                else b"\xdc\0" + bytes((p[0] & 15,)) + p[1:]
            )
        ),
    )
    yield (
        f"{where}: an array of 2^32-1",
        wrapped(lambda p: b"\xdd\xff\xff\xff\xff" + p[3:]),
    )
    yield f"{where}: a map", wrapped(lambda page: b"\x80")
    yield f"{where}: one byte", wrapped(lambda page: b"\x00")
    yield f"{where}: a leaf", wrapped(lambda page: msgpack([[path_of(0), 3840, False]]))


def hostile_nodes() -> Iterator[tuple[str, Node]]:
    """Yield hostile trees with what is wrong with each."""
    for label, change in changes():
        tree = copy_of(VALID)
        if not change(tree):
            yield label, tree
    # One level too many: an index page with a single page below it.
    yield "a chain of pages", Node(3, 0, 0, below=[copy_of(VALID)])
    below = copy_of(VALID)
    yield "a chain of pages below", Node(2, 0, 0, below=[below.below[0]])
    # Pages that are nowhere near full, so that there are very many.
    spread = [Node(0, i, i, [[f"{i:03}", 1, False]]) for i in range(30)]
    yield SPREAD, Node(1, 0, 0, below=spread)
    mixed = copy_of(VALID)
    mixed.below[0].below[0].wrap = lambda page: msgpack(
        [[path_of(i), i, i, bytes(32)] for i in range(PER_PAGE)]
    )
    yield "an index page where a leaf should be", mixed
