"""Shared files are one string of bytes; changed bytes are never returned."""

import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from shoal.errors import ForbiddenError, ShoalError, StoreError, UsageError
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.shared.scanned import (
    ScannedFiles,
    ScannedFolder,
    SharedFileChangedError,
)
from shoal.storage.shared.shared_files import SharedFiles

CHUNK = 1000
CONTENT = random.Random(1).randbytes(10 * CHUNK + 1)


def verify(index: int, data: Data) -> bool:
    return data == CONTENT[index * CHUNK :][:CHUNK]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def store(file: Path) -> Iterator[SharedFiles]:
    opened = SharedFiles.open_file(file, CHUNK, disk=Disk())
    yield opened
    opened.close()
    opened.close()


def open_files(paths: Sequence[Path]) -> SharedFiles:
    disk = Disk()
    files = ScannedFiles("")
    for path in paths:
        state = disk.state_at(path)
        assert state is not None
        files.add(str(path)[1:], state)
    return SharedFiles.open_folder(ScannedFolder("", files), CHUNK, disk=disk)


def read_all(store: SharedFiles) -> bytes:
    return b"".join(store.get(index) for index in range(store.chunks.count))


def test_chunks_are_slices_of_the_file(store: SharedFiles) -> None:
    assert store.have.is_complete
    assert store.chunks.count == 11
    assert read_all(store) == CONTENT
    assert store.get(10) == CONTENT[-1:]
    assert store.get_now(3) in (CONTENT[3000:4000], None)
    assert store.changed is None
    for index in (-1, 11):
        with pytest.raises(KeyError):
            store.get(index)


@pytest.mark.parametrize("indexes", [range(11), range(10), [7, 0, 7], [10], []])
def test_chunks_in_memory_are_read_without_blocking(
    store: SharedFiles, indexes: Sequence[int]
) -> None:
    read_all(store)
    now = store.get_many_now(indexes)
    if not hasattr(os, "RWF_NOWAIT"):
        assert now == [None] * len(indexes)
    else:
        assert now == [store.get(index) for index in indexes]
    for missing in (-1, 11):
        with pytest.raises(KeyError):
            store.get_many_now([*indexes, missing])


def test_untrusted_chunks_verify_before_they_are_read(store: SharedFiles) -> None:
    store.trusted, store.verify = False, verify
    assert store.get(3) == CONTENT[3000:4000]
    assert store.get_now(4) is None
    assert store.get_many_now([3, 4])[1] is None
    assert store.get_now(3) in (CONTENT[3000:4000], None)


@pytest.mark.parametrize("sizes", [(0,), (), (1, 0, 2500, 0, 0, 999, 1, 3000, 0)])
def test_chunks_may_span_several_files(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    paths = [tmp_path / str(place) for place in range(len(sizes))]
    whole = random.Random(2).randbytes(sum(sizes))
    start = 0
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(whole[start : start + size])
        start += size
    store = open_files(paths)
    count = store.chunks.count
    assert store.chunks.size == len(whole)
    assert read_all(store) == whole
    assert all(store.get_now(i) in (store.get(i), None) for i in range(count))
    buffer = bytearray(len(whole))
    store.read_into(memoryview(buffer), 0)
    assert buffer == whole
    store.close()


def truncate(file: Path) -> None:
    os.truncate(file, 5 * CHUNK)


def lengthen(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")
    os.utime(file, ns=(1, 1))  # a coarse file system clock might not show the change


def edit(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(5 * CHUNK)
        opened.write(b"?" * 10)
    os.utime(file, ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "lost", "word"),
    [
        (truncate, range(5, 11), "truncated"),
        (edit, range(5, 6), "changed"),
        (lengthen, range(0), "changed"),
    ],
)
def test_only_chunks_of_a_changed_file_that_verify_are_returned(
    store: SharedFiles,
    file: Path,
    change: Callable[[Path], None],
    lost: range,
    word: str,
) -> None:
    store.verify = verify
    read_all(store)
    change(file)
    for index in range(store.chunks.count):
        assert store.get_now(index) is None
        assert store.changed is not None
        if index in lost:
            # One message for the file, not one for each chunk.
            with pytest.raises(SharedFileChangedError, match=re.escape(store.changed)):
                store.get(index)
        else:
            assert verify(index, store.get(index))
    assert store.changed is not None
    assert f"{file} was {word} since" in store.changed


@pytest.mark.parametrize("change", [truncate, edit, lengthen])
def test_no_chunk_of_a_changed_file_is_returned_without_verification(
    store: SharedFiles, file: Path, change: Callable[[Path], None]
) -> None:
    change(file)
    for index in range(store.chunks.count):
        assert store.get_now(index) is None
        with pytest.raises(SharedFileChangedError):
            store.get(index)


def delete(file: Path) -> None:
    file.unlink()


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(bytes(len(CONTENT)))
    other.replace(file)


@pytest.mark.parametrize("change", [delete, replace])
def test_a_deleted_file_can_still_be_read_and_is_reported(
    store: SharedFiles, file: Path, change: Callable[[Path], None]
) -> None:
    change(file)
    assert read_all(store) == CONTENT
    assert store.changed is not None
    assert f"{file} was deleted or replaced" in store.changed


def test_chunks_of_unchanged_files_need_no_verification(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "empty", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"" if path.name == "empty" else bytes(1500))
    store = open_files(paths)
    os.truncate(paths[1], 5)
    assert store.get(1) == bytes(CHUNK)
    os.truncate(paths[2], 0)
    assert store.get(0) == bytes(CHUNK)
    for index in (1, 2):
        with pytest.raises(SharedFileChangedError):
            store.get(index)
    store.close()


def test_a_file_that_cannot_be_shared_is_an_error(tmp_path: Path, file: Path) -> None:
    disk = Disk()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(file)
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0

    def opening(name: str, *, follow: bool = True) -> SharedFiles:
        return SharedFiles.open_file(tmp_path / name, 5, disk=disk, follow=follow)

    with pytest.raises(ShoalError, match="There is no file .*missing") as caught:
        opening("missing")
    assert caught.value.exit_code == 1
    with pytest.raises(ShoalError, match="There is no file"):
        opening("file/below")
    with pytest.raises(UsageError, match="is a folder"):
        opening(".")
    with pytest.raises(UsageError, match="not a regular file"):
        opening("fifo")
    with pytest.raises(UsageError, match="not a regular file"):
        opening("/dev/zero")
    with pytest.raises(UsageError, match="not a regular file"):
        opening("link", follow=False)
    with pytest.raises(UsageError, match="cannot be the name"):
        opening("nul\0")
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    opening("link").close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_forbidden(file: Path) -> None:
    file.chmod(0)
    with pytest.raises(ForbiddenError, match="does not allow shoal to open"):
        SharedFiles.open_file(file, CHUNK, disk=Disk())


def test_a_file_that_changes_during_hashing_is_refused(
    store: SharedFiles, file: Path
) -> None:
    store.check_unchanged()
    truncate(file)
    with pytest.raises(StoreError, match="changed while it was read; share it again"):
        store.check_unchanged()
    with pytest.raises(StoreError, match="changed while it was read; share it again"):
        store.read_into(memoryview(bytearray(CHUNK)), 9 * CHUNK)
