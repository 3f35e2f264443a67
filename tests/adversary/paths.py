"""More than 900 hostile manifests, as the maker of a link could publish them.

In each, the id matches the root record, and the root record matches the pages: no peer
can be blamed, and none of the manifests may write a file. They are encoded without
shoal's encoder, which would refuse them. Tests open this corpus in memory and with the
real command.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from shoal.core.crypto.hashes import page_digest, root_digest
from shoal.core.manifest.pages import FILES, HASHES, PageKey
from tests.adversary.names import COLLISIONS, UNSAFE_NAMES, UNSAFE_PATHS
from tests.adversary.trees import LEAVES, PER_PAGE, SPREAD, encode, hostile_nodes
from tests.core.reference import msgpack

ATTRIBUTES: tuple[Any, ...] = (
    {},
    {"executable": True},
    {"executable": False, "mode": 0o644},
    {"mode": 0o10000},
    {"mode": None},
    {"mode": "rw"},
    {"mode": True},
    {"date": 1 << 53},
    {"date": 1 << 63},
    {"date": "today"},
    {"type": ""},
    {"type": "a b"},
    {"type": "t" * 128},
    {"type": "text/\u00e9"},
    {"type": "text/plain\n"},
    {"type": b"text/plain"},
    {"owner": 0, "mode": 0o644},
    {"mode": 0o644, "link": "/etc/passwd"},
    {"": 0, "mode": 0o644},
)
CHUNK_SIZE = 16_384
Entries = Sequence[tuple[Any, ...]]


class Hostile(NamedTuple):
    """A hostile manifest."""

    label: str
    """What is wrong with it, for the id of a test."""
    id: bytes
    root: bytes
    """The root record, whose hash is the id."""
    pages: dict[PageKey, bytes]
    """The pages, each after the one above it."""


def folder(label: str, entries: Entries, **changes: Any) -> Hostile:
    """Return a folder with these files in this order, without any checks."""
    page = msgpack([list(entry) for entry in entries])
    size = sum(entry[1] for entry in entries)
    return folder_of_page(label, page, len(entries), **{"size": size} | changes)


def folder_of_page(label: str, page: bytes, count: int = 1, **changes: Any) -> Hostile:
    """Return a share whose file table is one page that consists of these bytes."""
    files = [count, 0, page_digest(page)]
    pages = {PageKey(FILES, 0, 0): page}
    return share(label, file_pages=pages, **{"files": files} | changes)


def share(
    label: str, file_pages: Mapping[PageKey, bytes] | None = None, **changes: Any
) -> Hostile:
    """Return a share whose root record has these values instead of valid ones."""
    size = changes.get("size", 0)
    whole = size if type(size) is int and 0 < size < 1 << 24 else 0
    hash_page = bytes(32) * -(-whole // CHUNK_SIZE)
    values: dict[str, Any] = {
        "v": 2,
        "name": "share",
        "size": 0,
        "chunk": CHUNK_SIZE,
        "hashes": page_digest(hash_page) if hash_page else b"",
    }
    values.update(changes)
    root = msgpack({key: value for key, value in values.items() if value is not ...})
    pages = {PageKey(HASHES, 0, 0): hash_page} if hash_page else {}
    return Hostile(label, root_digest(root), root, pages | dict(file_pages or {}))


def of_root(label: str, root: bytes) -> Hostile:
    """Return a share whose root record consists of these bytes."""
    return Hostile(label, root_digest(root), root, {})


def _digest_of(entries: Entries) -> bytes:
    return page_digest(msgpack([list(entry) for entry in entries]))


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}… ({len(text)})"


@cache
def hostile_manifests() -> list[Hostile]:
    """Return the corpus."""
    return [
        *_names(),
        *_paths(),
        *_collisions(),
        *_tables(),
        *_encoded_tables(),
        *_roots(),
        *_encoded_roots(),
        *hostile_trees(),
    ]


def _names() -> Iterator[Hostile]:
    """Yield shares whose name is not a valid file name."""
    for name in (*UNSAFE_NAMES, "a/b", "/etc/x", "../x", "x/", "/"):
        shown = _shown(name)
        yield share(f"name {shown} of a file", name=name, size=5)
        yield folder(f"name {shown} of a folder", [("fine", 5, False)], name=name)


def _paths() -> Iterator[Hostile]:
    """Yield folders with one unsafe path, alone and among valid ones."""
    for path in UNSAFE_PATHS:
        shown = _shown(path)
        yield folder(f"path {shown}", [(path, 5, False)])
        among = sorted([("00/x", 1, False), (path, 5, True), ("\U0010fffd", 1, False)])
        yield folder(f"path {shown} among others", among)
    for name in UNSAFE_NAMES:
        shown = _shown(name)
        yield folder(f"folder {shown}", [(f"{name}/x", 5, False)])
        yield folder(f"folder {shown} below", [(f"a/{name}/x", 5, False)])
        yield folder(f"file {shown} below", [(f"a/b/{name}", 5, False)])


def _collisions() -> Iterator[Hostile]:
    for pair in COLLISIONS:
        shown = _shown("|".join(pair))
        yield folder(f"colliding {shown}", [(path, 1, False) for path in sorted(pair)])
        far = sorted([*pair, "00", "Zz/q", "\U0010fffd"])
        yield folder(f"colliding {shown} apart", [(path, 0, False) for path in far])
        below = sorted(f"x/y/{path}" for path in pair)
        yield folder(f"colliding {shown} below", [(path, 1, False) for path in below])


def _tables() -> Iterator[Hostile]:
    """Yield folders with valid paths and other faults."""
    fine = [("a", 1, False), ("b", 2, True)]
    yield folder("not sorted", fine[::-1])
    yield folder("twice", [fine[0], fine[0]])
    yield folder("sorted as UTF-16", [("\U00010000", 1, False), ("\uffee", 1, False)])
    yield folder("sorted by component", [("a/b", 1, False), ("a!", 1, False)])
    yield folder("sizes above", fine, size=2)
    yield folder("sizes below", fine, size=4)
    yield folder("empty with size", [], size=1)
    yield folder("a file more", fine, files=[3, 0, _digest_of(fine)])
    yield folder("a file less", fine, files=[1, 0, _digest_of(fine)])
    yield folder("huge size", [("a", (1 << 64) - 1, False)], size=0)
    wrapping = [("a", 1 << 63, False), ("b", 1 << 63, False)]
    yield folder("sizes that wrap", wrapping, size=0)
    yield folder("executable 2", [("a", 0, 2)])
    yield folder("executable 1", [("a", 0, 1)])
    yield folder("path as bytes", [(b"a", 0, False)])
    yield folder("two fields", [("a", 0)])
    yield folder("four fields", [("a", 0, False, False)])
    yield folder("a symbolic link", [("a", 0, False, "/etc/passwd")])
    yield folder("an owner and mode", [("a", 0, 0o4755)])
    for attributes in ATTRIBUTES:
        yield folder(f"attributes {_shown(attributes)}", [("a", 0, attributes)])


def _encoded_tables() -> Iterator[Hostile]:
    """Yield file tables that are not msgpack or not in the shortest encoding."""
    for label, table, size in (
        ("nothing in its page", b"\xc0", 0),
        ("a map", b"\x80", 0),
        ("an integer", b"\x00", 0),
        ("an array of 2^32-1", b"\xdd\xff\xff\xff\xff", 0),
        ("an array of 65535", b"\xdc\xff\xff", 0),
        ("an array without its length", b"\xdd\xff", 0),
        ("nested arrays", b"\x91" * 5000 + b"\x90", 0),
        ("nested maps", b"\x91" + b"\x81\xa1a" * 5000 + b"\xc0", 0),
        ("an entry of 2^32-1", b"\x91\xdd\xff\xff\xff\xff\xa1a\x00\xc2", 0),
        ("a path of 2^32-1", b"\x91\x93\xdb\xff\xff\xff\xffa\x00\xc2", 0),
        ("something after it", b"\x90\x00", 0),
        ("another array after it", b"\x90\x90", 0),
        ("half an entry", b"\x91\x93\xa1a", 0),
        ("array 16 of one", b"\xdc\x00\x01\x93\xa1a\x05\xc2", 5),
        ("array 32 of one", b"\xdd\x00\x00\x00\x01\x93\xa1a\x05\xc2", 5),
        ("entry as array 16", b"\x91\xdc\x00\x03\xa1a\x05\xc2", 5),
        ("entry as array 32", b"\x91\xdd\x00\x00\x00\x03\xa1a\x05\xc2", 5),
        ("path as str 8", b"\x91\x93\xd9\x01a\x05\xc2", 5),
        ("path as str 16", b"\x91\x93\xda\x00\x01a\x05\xc2", 5),
        ("path as str 32", b"\x91\x93\xdb\x00\x00\x00\x01a\x05\xc2", 5),
        ("size as uint 8", b"\x91\x93\xa1a\xcc\x05\xc2", 5),
        ("size as uint 16", b"\x91\x93\xa1a\xcd\x00\x05\xc2", 5),
        ("size as uint 64", b"\x91\x93\xa1a\xcf" + (5).to_bytes(8, "big") + b"\xc2", 5),
        ("size as int 8", b"\x91\x93\xa1a\xd0\x05\xc2", 5),
        ("size as int 64", b"\x91\x93\xa1a\xd3" + (5).to_bytes(8, "big") + b"\xc2", 5),
        ("size as float", b"\x91\x93\xa1a\xca\x40\xa0\x00\x00\xc2", 5),
        ("size as NaN", b"\x91\x93\xa1a\xca\x7f\xc0\x00\x00\xc2", 0),
        ("size -1", b"\x91\x93\xa1a\xff\xc2", 0),
        ("sizes -5 and 5", b"\x92\x93\xa1a\xfb\xc2\x93\xa1b\x05\xc2", 0),
        ("size true", b"\x91\x93\xa1a\xc3\xc2", 1),
        ("size as text", b"\x91\x93\xa1a\xa10\xc2", 0),
        ("size nil", b"\x91\x93\xa1a\xc0\xc2", 0),
        ("executable nil", b"\x91\x93\xa1a\x00\xc0", 0),
        ("path nil", b"\x91\x93\xc0\x00\xc2", 0),
        ("path ext", b"\x91\x93\xd4\x01a\x00\xc2", 0),
        ("path not UTF-8", b"\x91\x93\xa1\xff\x00\xc2", 0),
        ("path a surrogate", b"\x91\x93\xa3\xed\xa0\x80\x00\xc2", 0),
        ("path an overlong slash", b"\x91\x93\xa2\xc0\xaf\x00\xc2", 0),
        ("path overlong dots", b"\x91\x93\xa4\xc0\xae\xc0\xae\x00\xc2", 0),
        ("entry a map", b"\x91\x83\xa4path\xa1a\xa4size\x00\xa1x\xc2", 0),
        ("a type never used", b"\xc1", 0),
    ):
        yield folder_of_page(f"table: {label}", table, size=size)


def _roots() -> Iterator[Hostile]:
    """Yield root records with one invalid value."""
    values: dict[str, Sequence[Any]] = {
        "v": (0, 1, 3, 255, 1 << 63, "1", True, None, ..., b"1"),
        "name": (5, b"name", None, ..., True, []),
        "size": (1 << 53, 1 << 63, (1 << 64) - 1, "0", None, ..., True, False, b""),
        "chunk": (0, 1, 1024, 8192, 16383, 16385, 24576, 3 << 14, 1 << 25, 1 << 40)
        + (1 << 63, "16384", None, ..., True),
        "hashes": (bytes(31), bytes(32), bytes(33), bytes(64), "", None, ..., [], 0),
        "files": (b"", bytes(32), None, "", [], 0, False, {}, [0, 0], [0, 0, bytes(31)])
        + ([0, 0, bytes(33)], [0, 0, bytes(32), 0], [-1, 0, bytes(32)])
        + ([0, 1, bytes(32)], [20, 2, bytes(32)], [1, -1, bytes(32)])
        + ([(1 << 22) + 1, 0, bytes(32)], [1 << 63, 0, bytes(32)], [1, 0, None])
        + ([1 << 22, 8, bytes(32)], [1 << 22, 255, bytes(32)], ["1", 0, bytes(32)]),
        "salt": (b"", bytes(15), bytes(17), bytes(32), None, "s" * 16, 0, []),
        "extra": (0, None, "x", b""),
        "": (0,),
        "V": (1,),
        "date": (1 << 53, "now", 1.5, None, b""),
        "mode": (0o10000, "rwx", None, True),
        "type": ("", "a b", "\x7f", "t" * 128, None, 0, b"text/plain", "text/\n"),
        "file": (b"",),
    }
    for key, wrong in values.items():
        for value in wrong:
            shown = _shown(value)
            yield share(f"root: {key} is {shown}", **{key: value})
    for size, count in ((1, 0), (1, 2), (CHUNK_SIZE * 2048 + 1, 1), (1 << 40, 1)):
        hashes = bytes(32) * count
        yield share(f"root: {count} pages for {size}", size=size, hashes=hashes)


def hostile_trees() -> Iterator[Hostile]:
    """Yield trees of file pages that disagree with themselves."""
    for label, top in hostile_nodes():
        pages: dict[PageKey, bytes] = {}
        digest = encode(top, pages)
        count = len(top.below) if label == SPREAD else LEAVES * PER_PAGE
        files = [count, top.level, digest]
        yield share(f"tree: {label}", file_pages=pages, size=count, files=files)


def _encoded_roots() -> Iterator[Hostile]:
    """Yield root records with valid values in another encoding."""
    keys = [b"\xa5chunk", b"\xa6hashes", b"\xa4name", b"\xa4size", b"\xa1v"]
    values = [b"\xcd\x40\x00", b"\xc4\x00", b"\xa1x", b"\x00", b"\x02"]
    parts = [key + value for key, value in zip(keys, values, strict=True)]
    right = b"\x85" + b"".join(parts)
    yield of_root("root: keys not sorted", b"\x85" + b"".join(parts[::-1]))
    yield of_root("root: a key twice", b"\x86" + b"".join([*parts, parts[-1]]))
    yield of_root("root: map 16", b"\xde\x00\x05" + right[1:])
    yield of_root("root: map 32", b"\xdf\x00\x00\x00\x05" + right[1:])
    yield of_root("root: map of 2^32-1", b"\xdf\xff\xff\xff\xff" + right[1:])
    yield of_root("root: an array", b"\x95" + b"".join(values))
    yield of_root("root: something after it", right + b"\x00")
    yield of_root("root: itself after it", right * 2)
    yield of_root("root: nothing", b"")
    yield of_root("root: nil", b"\xc0")
    yield of_root("root: nested", b"\x81\xa1x" + b"\x91" * 8000)
    yield of_root("root: 8 KiB of a key", b"\x81\xda\x1f\xf0" + b"k" * 8176 + b"\x00")
    yield of_root("root: a list as key", b"\x86\x91\x00\x00" + right[1:])
    yield of_root("root: an integer as key", b"\x86\x00\x00" + right[1:])
    for length in range(1, len(right)):
        yield of_root(f"root: only {length} bytes of it", right[:length])
    others = {
        0: (b"\xce\x00\x00\x40\x00", b"\xd1\x40\x00", b"\xca\x46\x80\x00\x00"),
        1: (b"\xc5\x00\x00", b"\xc6\x00\x00\x00\x00", b"\xa0"),
        2: (b"\xd9\x01x", b"\xda\x00\x01x", b"\xc4\x01x", b"\xa1\xff"),
        3: (b"\xcc\x00", b"\xd0\x00", b"\xcf" + bytes(8), b"\xff", b"\xca" + bytes(4)),
        4: (b"\xcc\x02", b"\xd3" + bytes(7) + b"\x02", b"\xff", b"\xc3"),
    }
    for place, encodings in others.items():
        for value in encodings:
            changed = [*parts[:place], keys[place] + value, *parts[place + 1 :]]
            yield of_root(
                f"root: {keys[place][1:].decode()} as {value.hex()}",
                b"\x85" + b"".join(changed),
            )
