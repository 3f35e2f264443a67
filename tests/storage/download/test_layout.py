"""Every byte of a wanted chunk is mapped to exactly one place."""

import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_tree import File
from shoal.storage.download.layout import DATA, LARGE, Layout
from shoal.storage.extents import Extents

sizes = st.lists(st.integers(0, 40), min_size=1, max_size=12)


@given(sizes, st.integers(0, 500), st.integers(0, 500))
def test_extents_cover_the_files_in_order(
    sizes: list[int], first: int, length: int
) -> None:
    files = [random.Random(place).randbytes(size) for place, size in enumerate(sizes)]
    whole = b"".join(files)
    extents = Extents(sizes)
    assert extents.total == len(whole)
    end = min(first + length, len(whole))
    spans = list(extents.cover(first, end))
    found = b"".join(files[n][offset : offset + size] for n, size, offset in spans)
    assert found == whole[first : max(first, end)]
    assert all(size for _, size, _ in spans)


@given(sizes, st.integers(1, 50), st.data())
def test_every_wanted_byte_has_one_place(
    sizes: list[int], chunk_size: int, data: st.DataObject
) -> None:
    numbers = st.sets(st.integers(0, len(sizes) - 1), min_size=1)
    selected = data.draw(st.none() | numbers)
    files = [File(f"{place:02}", size) for place, size in enumerate(sizes)]
    layout = Layout(Chunks(sum(sizes), chunk_size), files, selected)
    places: set[tuple[int, int]] = set()
    whole = random.Random(1).randbytes(sum(sizes))
    written = {n: bytearray(layout.size(n)) for n in (*layout.selected, layout.side)}
    chunks = [
        (i, whole[i * chunk_size :][: layout.chunks.length(i)]) for i in layout.wanted
    ]
    for index, chunk in chunks:
        spans = list(layout.file_ranges(index))
        assert sum(size for _, size, _ in spans) == len(chunk)
        for number, size, offset in spans:
            bytes_there = {(number, place) for place in range(offset, offset + size)}
            assert not places & bytes_there
            places |= bytes_there
    for number, offset, buffers in layout.gather(chunks):
        joined = b"".join(buffers)
        written[number][offset : offset + len(joined)] = joined
    for number in layout.selected:
        start = layout.extents.start(number)
        assert written[number] == whole[start : start + sizes[number]]
    assert len(places) == sum(map(len, written.values())), "a place is never used"


def test_adjacent_chunks_are_written_together() -> None:
    layout = Layout(Chunks(100, 10), [File("a", 35), File("b", 65)])
    runs = list(layout.gather([(i, bytes(10)) for i in (0, 1, 2, 3, 4, 7, 8)]))
    assert [(n, offset, len(buffers)) for n, offset, buffers in runs] == [
        (0, 0, 4),
        (1, 0, 2),
        (1, 35, 2),
    ]


def test_a_single_file_is_one_extent() -> None:
    layout = Layout(Chunks(25, 10))
    assert [list(layout.file_ranges(index)) for index in range(3)] == [
        [(0, 10, 0)],
        [(0, 10, 10)],
        [(0, 5, 20)],
    ]
    assert layout.place(0) == ("", "data")
    assert layout.is_reserved(0)
    assert layout.disk_space == 25


def test_large_files_are_reserved_and_disk_space_is_counted_in_units() -> None:
    files = [File("a", LARGE), File("b", 1)]
    layout = Layout(Chunks(LARGE + 1, 65536), files)
    assert [layout.is_reserved(number) for number in range(2)] == [True, False]
    assert layout.disk_space == LARGE + 4096


def test_a_selection_of_every_file_is_the_whole_share() -> None:
    files = [File("a", 5), File("b", 5)]
    identity = bytes(range(32))
    every = Layout(Chunks(10, 3), files, {0, 1})
    assert every.download_identity(identity) == identity
    single = [Layout(Chunks(10, 3), files, {number}) for number in (0, 1)]
    one, other = (layout.download_identity(identity) for layout in single)
    assert len({identity, one, other}) == 3
    assert len(one) == 32


def test_folders_come_before_their_contents() -> None:
    paths = ["a/b/c/d", "a/x", "z"]
    layout = Layout(Chunks(3, 1), [File(path, 1) for path in paths])
    found = [(path, list(numbers)) for path, numbers in layout.folders().items()]
    assert found == [
        ("", [2]),
        ("a", [1]),
        ("a/b", []),
        ("a/b/c", [0]),
    ]


names = st.text("aé-", min_size=1, max_size=3)
paths = st.sets(st.lists(names, min_size=1, max_size=4).map("/".join), min_size=1)


@given(paths, st.data())
def test_a_file_is_created_in_its_folder_under_its_name(
    found: set[str], data: st.DataObject
) -> None:
    files = [File(path, 1, executable=len(path) % 2 == 1) for path in sorted(found)]
    numbers = st.sets(st.integers(0, len(files) - 1), min_size=1)
    selected = data.draw(st.none() | numbers)
    layout = Layout(Chunks(len(files), 1), files, selected, keep_exec=True)
    by_folder: dict[str, list[int]] = {}
    for number in layout.selected:
        path = files[number].path
        assert "/".join(filter(None, layout.place(number))) == path
        assert layout.mode(number) == (0o777 if len(path) % 2 else 0o666)
        by_folder.setdefault(path.rpartition("/")[0], []).append(number)
    seen: set[str] = set()
    for folder, inside in layout.folders().items():
        assert list(inside) == by_folder.pop(folder, [])
        assert not folder or folder.rpartition("/")[0] in seen
        seen.add(folder)
    assert not by_folder


class ReadOnce(Sequence[File]):
    """Refuse to be read a second time, as a file table would decode its pages again."""

    def __init__(self, files: Sequence[File]) -> None:
        self._files = files
        self._reads = 0

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> File:  # type: ignore[override]
        raise AssertionError("a file was looked up by its number")

    def __iter__(self) -> Iterator[File]:
        self._reads += 1
        assert self._reads == 1
        return iter(self._files)


def test_the_file_table_is_read_once() -> None:
    files = ReadOnce([File(f"a/{number}", 1) for number in range(10)])
    layout = Layout(Chunks(10, 4), files, keep_exec=True)
    for number in (9, 0, 5):
        assert layout.place(number) == ("a", str(number))
        assert layout.mode(number) == 0o666
        assert layout.size(number) == 1
    assert list(layout.folders()["a"]) == list(range(10))


@pytest.mark.parametrize("path", ["a\ud800", "a\ud800/b"])
def test_a_path_that_cannot_be_written_is_refused(path: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        Layout(Chunks(1, 1), [File(path, 1)])


def test_one_file_in_place_of_its_folder_is_another_download() -> None:
    """Its chunks are stored in another file, even if the folder has no other."""
    chunks, share = Chunks(10, 16_384), bytes(32)
    folder = Layout(chunks, [File("a", 10)])
    one = Layout(chunks, [File(DATA, 10, executable=True)], [0], as_one=True)
    assert one.download_identity(share) != folder.download_identity(share)
    assert (folder.is_folder, one.is_folder) == (True, False)
    assert one.place(0) == ("", DATA)
    assert one.mode(0) == 0o600, "until it is complete"
    assert one.final_mode(0) == 0o666, "without keep_exec"
