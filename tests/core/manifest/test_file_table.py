"""Compare the file table with a plain list."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.crypto.hashes import page_digest
from shoal.core.manifest.file_table import (
    MAX_FILES,
    File,
    FileEntry,
    FileSpan,
    FileTable,
    encode_files,
)
from shoal.core.manifest.pages import split_pages
from shoal.core.manifest.paths import collision, path_problem
from shoal.errors import ManifestError, UsageError
from tests.core.reference import msgpack


def table_of(data: bytes, size: int) -> FileTable:
    """Return a table with all its pages."""
    table, pages = empty_table_of(data, size)
    assert all(table.add_page(number, page) for number, page in enumerate(pages))
    return table


def empty_table_of(data: bytes, size: int) -> tuple[FileTable, list[bytes]]:
    pages = split_pages(data)
    return FileTable(b"".join(map(page_digest, pages)), size), pages


def folder(*entries: FileEntry) -> FileTable:
    return table_of(encode_files(entries), sum(size for _, size, _ in entries))


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
    data = encode_files(entries)
    assert data == msgpack(entries)
    table = table_of(data, sum(size for _, size, _ in entries))
    found = [(file.path, file.size, file.executable) for file in table.files]
    assert found == entries
    offset = 0
    for file in table.files:
        assert file.offset == offset
        assert table.find(file.path) is file
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


def test_no_file_is_listed_before_all_pages_have_arrived() -> None:
    entries = [(f"{i:05}", i, False) for i in range(20_000)]
    data = encode_files(entries)
    table, pages = empty_table_of(data, sum(size for _, size, _ in entries))
    assert len(pages) == table.page_count
    for number in (2, 0):
        assert table.add_page(number, pages[number])
    assert len(pages) > 2
    for ask in (lambda: table.files, lambda: table.find("0"), lambda: table.under("")):
        with pytest.raises(LookupError):
            ask()
    for number, page in enumerate(pages):
        assert table.add_page(number, page)
    assert len(table.files) == 20_000
    assert [table.page(number) for number in range(len(pages))] == pages


def test_a_changed_byte_never_decodes_to_the_same_files() -> None:
    table = folder(("a", 5, False), ("b/c", 300, True))
    data = table.page(0)
    assert data is not None
    for place in range(len(data)):
        for byte in range(256):
            changed = data[:place] + bytes((byte,)) + data[place + 1 :]
            if changed == data:
                continue
            try:
                found = table_of(changed, 305).files
            except ManifestError:
                continue
            assert found != table.files


@given(st.binary(min_size=1, max_size=100))
def test_noise_with_right_hashes_is_a_manifest_error(
    data: bytes,
) -> None:
    if data == b"\x90":
        return  # the empty folder
    with pytest.raises(ManifestError):
        assert table_of(data, 0).files


def test_pages_cut_at_another_offset_are_refused() -> None:
    data = encode_files([(f"{i:06}", 0, False) for i in range(8_000)])
    pages = [data[:100], data[100:]]
    table = FileTable(b"".join(map(page_digest, pages)), 0)
    assert [table.add_page(i, page) for i, page in enumerate(pages)] == [False] * 2


def test_an_empty_folder_has_one_page_and_no_file() -> None:
    table = folder()
    assert table.page_count == 1
    assert table.page(0) == b"\x90"
    assert list(table.files) == []
    assert list(table.spans(0, 10)) == []
    assert table.find("a") is None


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
    with pytest.raises(UsageError, match="Rename it, or leave") as error:
        encode_files([(path, 1, False)])
    assert str(error.value).isprintable()


def test_collisions_and_too_many_files_cannot_be_shared() -> None:
    with pytest.raises(UsageError, match="'A' and 'a'"):
        encode_files([("A", 1, False), ("a", 1, False)])
    with pytest.raises(UsageError, match="100001 files"):
        encode_files([("a", 1, False)] * (MAX_FILES + 1))
    for wrong in ([("b", 1, False), ("a", 1, False)], [("a", -1, False)]):
        with pytest.raises(ValueError, match="sorted"):
            encode_files(wrong)


def test_the_largest_allowed_number_of_files_is_accepted() -> None:
    rng = random.Random(3)
    entries = [(f"{i // 100:04}/{i:06}", rng.randrange(9), False) for i in range(10**5)]
    assert len(folder(*entries).files) == MAX_FILES


def test_a_claim_of_many_files_allocates_no_memory_for_them() -> None:
    import tracemalloc

    tables = [table_of(b"\xdd" + n.to_bytes(4, "big"), 0) for n in (10**5, 2**32 - 1)]
    tracemalloc.start()
    for table in tables:
        with pytest.raises(ManifestError):
            assert table.files
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
