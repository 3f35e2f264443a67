"""Compare the file table with a plain list."""

import random
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack as encoder

from shoal.core.crypto.hashes import page_digest
from shoal.core.manifest.build import build_files, build_manifest
from shoal.core.manifest.collisions import collision
from shoal.core.manifest.file_pages import (
    MAX_FILES,
    MIN_FULL_PAGE,
    Attributes,
    FileEntry,
    FilesTop,
)
from shoal.core.manifest.file_table import FileSpan, FileTable
from shoal.core.manifest.file_tree import File
from shoal.core.manifest.pages import FILES, PAGE_SIZE, PageKey
from shoal.core.manifest.paths import path_problem
from shoal.errors import ManifestError, UsageError
from tests.core.reference import file_tree, msgpack

CHUNK = 16_384


def table_of(page: bytes, size: int, count: int = 1) -> FileTable:
    """Return a table that consists of one page."""
    table = FileTable(FilesTop(count, 0, page_digest(page)), size)
    assert table.add_page(0, 0, page)
    return table


def load(table: FileTable, pages: dict[PageKey, bytes]) -> FileTable:
    """Add all pages, as they are asked for."""
    while missing := list(table.missing()):
        for key in missing:
            assert table.add_page(key.level, key.number, pages[key])
    return table


def folder(*entries: FileEntry) -> FileTable:
    """Return the table of these files."""
    built = build_files(entries)
    return load(FileTable(built.top, built.size), built.pages)


def sharing(entries: list[FileEntry]) -> None:
    """Build a manifest of these files, whose chunks have any hashes."""
    size = sum(max(size, 0) for _, size, _ in entries)
    build_manifest("x", size, CHUNK, bytes(32 * -(-size // CHUNK)), entries)


def are_safe(paths: list[str]) -> bool:
    return collision(paths) is None and not any(map(path_problem, paths))


words = st.text(st.sampled_from("abAB \u00e9\u65e5.-0!"), min_size=1, max_size=4)
path_lists = (
    st.lists(st.lists(words, min_size=1, max_size=3).map("/".join), max_size=12)
    .map(lambda paths: sorted(set(paths)))
    .filter(are_safe)
)


@st.composite
def entry_lists(draw: st.DrawFn) -> list[FileEntry]:
    sizes = st.integers(0, 3) | st.integers(0, 1 << 40)
    return [(path, draw(sizes), draw(st.booleans())) for path in draw(path_lists)]


@given(entry_lists())
def test_the_encoding_is_canonical_msgpack_and_decodes(
    entries: list[FileEntry],
) -> None:
    table = folder(*entries)
    assert table.page(0, 0) == msgpack(entries)
    found = [(file.path, file.size, file.executable) for file in table.files]
    assert found == entries
    offset = 0
    for file in table.files:
        assert file.offset == offset
        assert table.find(file.path) == file
        offset = file.end


@given(entry_lists(), words)
def test_a_folder_has_the_files_whose_paths_begin_with_its_own(
    entries: list[FileEntry], word: str
) -> None:
    table = folder(*entries)
    folders = {word, "", *(path.rpartition("/")[0] for path, _, _ in entries)}
    for name in folders:
        below = [f for f in table.files if not name or f.path.startswith(name + "/")]
        assert list(table.under(name)) == below
    assert table.find(word) == next((f for f in table.files if f.path == word), None)


@given(
    st.lists(st.integers(0, 4), max_size=8), st.integers(-2, 30), st.integers(-2, 30)
)
def test_spans_cover_the_requested_bytes(
    sizes: list[int], first: int, end: int
) -> None:
    table = folder(*((f"{i}", size, False) for i, size in enumerate(sizes)))
    bytes_of = [(file, i) for file in table.files for i in range(file.size)]
    spans = list(table.spans(first, end))
    found = [(s.file, s.start + i) for s in spans for i in range(s.length)]
    assert found == bytes_of[max(first, 0) : max(end, 0)]
    assert all(span.length > 0 for span in spans)


def long_path(number: int) -> str:
    """Return a path so long that 17 files fill a page; they ascend."""
    return f"{number:05}" + f"/{number % 10}{'x' * 240}" * 15 + "/y"


MANY = [(long_path(i), i % 5, i % 3 == 0) for i in range(700)]
BUILT = build_files(MANY)


def missing_in(table: FileTable, first: str = "", end: str | None = None) -> int:
    """Load the pages of some paths; return how many those were."""
    count = 0
    while missing := list(table.missing(first, end)):
        for key in missing:
            assert table.add_page(key.level, key.number, BUILT.pages[key])
            count += 1
    return count


def test_a_large_table_is_the_tree_of_the_reference() -> None:
    top, pages = file_tree(MANY)
    assert [BUILT.top.count, BUILT.top.depth, BUILT.top.digest] == top
    assert {key[1:]: page for key, page in BUILT.pages.items()} == pages
    assert BUILT.top.depth == 2


def test_a_large_table_lists_what_it_was_built_from() -> None:
    table = load(FileTable(BUILT.top, BUILT.size), BUILT.pages)
    assert table.is_complete
    assert [(f.path, f.size, f.executable) for f in table.files] == MANY
    offsets = [file.offset for file in table.files]
    assert offsets == [sum(e[1] for e in MANY[:i]) for i in range(len(MANY))]
    assert table.files[-1] == table.files[699]
    assert list(table.files[50:53]) == [table.files[i] for i in (50, 51, 52)]
    assert list(table.files[5:1:-2]) == [table.files[i] for i in (5, 3)]
    assert len(table.files[600:]) == 100
    with pytest.raises(IndexError):
        table.files[700]
    assert set(table.keys()) == BUILT.pages.keys()


def test_one_file_of_many_is_found_with_one_page_of_each_level() -> None:
    for number in (0, 1, 15, 16, 17, 288, 289, 350, 698, 699):
        table = FileTable(BUILT.top, BUILT.size)
        path, size, executable = MANY[number]
        assert missing_in(table, path, path + "\0") == 3
        found = table.find(path)
        assert found is not None
        assert (found.size, found.executable) == (size, executable)
        assert found.offset == sum(entry[1] for entry in MANY[:number])
        with pytest.raises(LookupError):
            assert table.files


def test_what_is_not_there_is_found_missing_with_one_page_of_each_level() -> None:
    for path in ("", "00", "00350x", "zz", long_path(350) + "z", long_path(350)[:-1]):
        table = FileTable(BUILT.top, BUILT.size)
        assert missing_in(table, path, path + "\0") == 3
        assert table.find(path) is None


@given(st.integers(0, 700), st.integers(0, 700))
def test_a_range_of_paths_needs_only_its_own_pages(one: int, other: int) -> None:
    first, end = sorted((one, other))
    table = FileTable(BUILT.top, BUILT.size)
    stop = long_path(end) if end < 700 else None
    loaded = missing_in(table, long_path(first), stop)
    assert loaded <= 3 + 2 + (end - first) // 15 + 1
    if first < end:
        found = table.between(long_path(first), stop)
        assert [file.path for file in found] == [e[0] for e in MANY[first:end]]


def test_a_page_of_which_the_one_above_has_not_arrived_is_refused() -> None:
    table = FileTable(BUILT.top, BUILT.size)
    for key, page in BUILT.pages.items():
        if key.level < 2:
            assert not table.add_page(key.level, key.number, page)
    assert list(table.keys()) == []
    assert list(table.missing()) == [PageKey(FILES, 2, 0)]


def test_every_page_is_refused_in_any_other_place() -> None:
    table = load(FileTable(BUILT.top, BUILT.size), BUILT.pages)
    keys = list(BUILT.pages)
    for key in keys:
        for other in keys:
            is_right = table.add_page(key.level, key.number, BUILT.pages[other])
            assert is_right == (key == other)
    assert not table.add_page(3, 0, BUILT.pages[keys[0]])


def test_every_changed_or_shortened_page_is_refused() -> None:
    table = FileTable(BUILT.top, BUILT.size)
    rng = random.Random(1)
    for key in sorted(BUILT.pages, key=lambda key: -key.level):
        page = BUILT.pages[key]
        assert not table.add_page(key.level, key.number, page[:-1])
        assert not table.add_page(key.level, key.number, page + b"\0")
        assert not table.add_page(key.level, key.number, b"")
        for _ in range(20):
            changed = bytearray(page)
            changed[rng.randrange(len(page))] ^= 1 << rng.randrange(8)
            assert not table.add_page(key.level, key.number, changed)
        assert table.add_page(key.level, key.number, page)


def test_every_page_but_the_last_of_its_level_is_full() -> None:
    for level in range(3):
        pages = [page for key, page in BUILT.pages.items() if key.level == level]
        assert all(MIN_FULL_PAGE <= len(page) <= PAGE_SIZE for page in pages[:-1])


def test_no_file_is_listed_before_all_pages_have_arrived() -> None:
    entries = [(f"{i:05}", i, False) for i in range(20_000)]
    built = build_files(entries)
    table = FileTable(built.top, built.size)
    assert list(table.missing()) == [PageKey(FILES, 1, 0)]
    assert table.add_page(1, 0, built.pages[PageKey(FILES, 1, 0)])
    last, *others = sorted(table.missing(), reverse=True)
    for key in others:
        assert table.add_page(0, key.number, built.pages[key])
    assert table.find("00000") == File("00000", 0, False, 0)
    for ask in (
        lambda: table.files,
        lambda: table.find("19999"),
        lambda: list(table.under("")),
    ):
        with pytest.raises(LookupError):
            ask()
    assert table.add_page(0, last.number, built.pages[last])
    assert len(table.files) == 20_000


def test_attributes_of_later_versions_are_accepted() -> None:
    said = Attributes(executable=True, mode=0o755, date=1, type="text/plain")
    page = encoder.encode([("a", 5, said), ("b", 6, Attributes(mode=0))])
    fields = {"date": 1, "executable": True, "mode": 0o755, "type": "text/plain"}
    assert page == msgpack([["a", 5, fields], ["b", 6, {"mode": 0}]])
    table = table_of(page, 11, 2)
    assert list(table.files) == [File("a", 5, True, 0), File("b", 6, False, 5)]


def test_a_changed_byte_never_decodes_to_the_same_files() -> None:
    entries: list[FileEntry] = [("a", 5, False), ("b/c", 300, True)]
    data = msgpack(entries)
    files = list(table_of(data, 305, 2).files)
    for place in range(len(data)):
        for byte in range(256):
            changed = data[:place] + bytes((byte,)) + data[place + 1 :]
            if changed == data:
                continue
            try:
                found = list(table_of(changed, 305, 2).files)
            except ManifestError:
                continue
            assert found != files


@given(st.binary(min_size=1, max_size=100))
def test_noise_with_right_hashes_is_a_manifest_error(
    data: bytes,
) -> None:
    with pytest.raises(ManifestError):
        assert table_of(data, 0).files


def test_an_empty_folder_has_one_page_and_no_file() -> None:
    table = folder()
    assert table.page(0, 0) == b"\x90"
    assert list(table.keys()) == [PageKey(FILES, 0, 0)]
    assert list(table.files) == []
    assert list(table.spans(0, 10)) == []
    assert table.find("a") is None
    assert len(table.under("a")) == 0


def test_empty_files_have_an_offset_and_no_bytes() -> None:
    table = folder(("a", 0, False), ("b", 2, True), ("c", 0, False), ("d", 1, False))
    assert [file.offset for file in table.files] == [0, 0, 2, 2]
    b, d = table.find("b"), table.find("d")
    assert b == File("b", 2, True, 0)
    assert d is not None
    assert list(table.spans(0, 3)) == [FileSpan(b, 0, 2), FileSpan(d, 0, 1)]
    assert list(table.spans(1, 2)) == [FileSpan(b, 1, 1)]


@pytest.mark.parametrize("path", ["../x", "a:b", "con", "a\nb", "x" * 256, ""])
def test_a_path_that_cannot_be_shared_is_a_usage_error(path: str) -> None:
    with pytest.raises(UsageError, match="Rename a file, or leave") as error:
        sharing([(path, 1, False)])
    assert str(error.value).isprintable()


def test_collisions_and_too_many_files_cannot_be_shared() -> None:
    with pytest.raises(UsageError, match="'A' and 'a'"):
        sharing([("A", 1, False), ("a", 1, False)])
    with pytest.raises(UsageError, match="4194305 files"):
        sharing([("a", 0, False)] * (MAX_FILES + 1))
    for wrong in ([("b", 1, False), ("a", 1, False)], [("a", -1, False)]):
        with pytest.raises(ValueError, match="sorted"):
            sharing(wrong)


def test_the_memory_of_many_files_is_that_of_their_pages() -> None:
    def entries() -> Iterator[FileEntry]:
        for i in range(100_000):
            yield f"{i // 100:04}/{i:06}", 7, False

    tracemalloc.start()
    built = build_files(entries())
    size = sum(map(len, built.pages.values()))
    assert tracemalloc.get_traced_memory()[1] < 2 * size
    table = load(FileTable(built.top, built.size), built.pages)
    tracemalloc.reset_peak()
    assert sum(file.size for file in table.files) == 700_000
    # Of the files, only those of a few pages; of their paths, a hash of each.
    assert tracemalloc.get_traced_memory()[1] < 3 * size + 8_000_000
    tracemalloc.stop()


def test_a_claim_of_many_files_allocates_no_memory_for_them() -> None:
    pages = [b"\xdd" + n.to_bytes(4, "big") for n in (10**5, 2**32 - 1)]
    tracemalloc.start()
    for page in pages:
        with pytest.raises(ManifestError):
            table_of(page, 0)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_table_of_very_many_long_paths_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = [(f"{i:06}{'x' * 240}", 7, False) for i in range(2000)]
    built = build_files(entries)
    size = sum(map(len, built.pages.values()))
    monkeypatch.setattr("shoal.core.manifest.file_tree.MAX_TABLE_SIZE", size - 1)
    with pytest.raises(ManifestError, match="file table has more than"):
        load(FileTable(built.top, built.size), built.pages)
    monkeypatch.setattr("shoal.core.manifest.file_tree.MAX_TABLE_SIZE", size)
    table = load(FileTable(built.top, built.size), built.pages)
    # A page counts once.
    assert all(table.add_page(k.level, k.number, p) for k, p in built.pages.items())
    monkeypatch.setattr("shoal.core.manifest.file_pages.MAX_TABLE_SIZE", size - 1)
    with pytest.raises(UsageError, match="too long together.*exclude"):
        build_files(entries)


def nested_paths(rng: random.Random) -> list[str]:
    """Return sorted paths of which a page has about 270: few large folders, files."""
    found: set[str] = set()
    while len(found) < 3000:
        names = [f"{rng.choice('abc')}{rng.randrange(6)}" for _ in range(2)]
        long = f"{rng.randrange(10**6):06}" + "x" * 225
        found.add("/".join([*names[: rng.choice((0, 1, 2, 2, 2, 2, 2))], long]))
    return sorted(found)


@pytest.mark.parametrize("seed", range(3))
def test_a_folder_is_listed_from_the_pages_that_tell_what_is_in_it(seed: int) -> None:
    paths = nested_paths(random.Random(seed))
    built = build_files((path, 1, False) for path in paths)
    starts = {path[:end] for path in paths for end in (0, 2, 5)}
    loaded: dict[str, int] = {}
    for name in sorted({each.strip("/") for each in starts if "x" not in each}):
        table = FileTable(built.top, built.size)
        while missing := list(table.missing_children(name)):
            for key in missing:
                assert table.add_page(key.level, key.number, built.pages[key])
                loaded[name] = loaded.get(name, 0) + 1
        inside = name + "/" if name else ""
        names = [p[len(inside) :].partition("/") for p in paths if p.startswith(inside)]
        expected = dict.fromkeys((first, bool(slash)) for first, slash, _ in names)
        found = [(child, file is None) for child, file in table.children(name)]
        assert found == list(expected)
        assert all(
            file is None or file.path == inside + child
            for child, file in table.children(name)
        )
    assert len(loaded) > 40


def test_the_top_of_many_files_is_listed_from_few_pages() -> None:
    paths = [f"{i // 2000}/{i:06}" + "x" * 225 for i in range(8000)]
    built = build_files((path, 1, False) for path in paths)
    table = FileTable(built.top, built.size)
    loaded = 0
    while missing := list(table.missing_children("")):
        for key in missing:
            assert table.add_page(key.level, key.number, built.pages[key])
            loaded += 1
    assert list(table.children("")) == [(f"{n}", None) for n in range(4)]
    # The index, the pages in which one folder ends, and the last page.
    assert loaded == 5
    assert len(built.pages) > 25
    with pytest.raises(LookupError):
        list(table.children("1"))
    empty = FileTable(built.top, built.size)
    with pytest.raises(LookupError):
        list(empty.children(""))
