"""The files of a shared folder are one string of bytes; few are open at a time."""

import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shoal.core.manifest.file_tree import File
from shoal.errors import StoreError, TargetExistsError, UsageError
from shoal.storage.disk.disk import Data, Disk, WholeFile
from shoal.storage.download.completed import open_verified_target
from shoal.storage.shared.hashing import hash_chunks
from shoal.storage.shared.scan import scan_folder
from shoal.storage.shared.scanned import SharedFileChangedError
from shoal.storage.shared.shared_files import SharedFiles
from tests.storage.shared.test_hashing import digest

CHUNK = 100
SIZES = [0, 250, 1, 49, 100, 0, 333, 7, 60, 0, 500]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "share"
    folder.mkdir()
    for place, size in enumerate(SIZES):
        (folder / f"{place:02}").write_bytes(random.Random(place).randbytes(size))
    return folder


@pytest.fixture
def whole(folder: Path) -> bytes:
    return b"".join(
        (folder / f"{place:02}").read_bytes() for place in range(len(SIZES))
    )


@pytest.fixture
def store(folder: Path) -> Iterator[SharedFiles]:
    tree = scan_folder(folder, disk=Disk())
    opened = SharedFiles.open_folder(tree, CHUNK, disk=Disk(), max_open=2)
    yield opened
    opened.close()


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_files_are_opened_on_first_read_and_few_stay_open(
    folder: Path, whole: bytes
) -> None:
    before = fds()
    tree = scan_folder(folder, disk=Disk())
    store = SharedFiles.open_folder(tree, CHUNK, disk=Disk(), max_open=2)
    assert fds() == before
    assert b"".join(store.get(i) for i in range(store.chunks.count)) == whole
    assert fds() == before + 2
    store.close()
    assert fds() == before


def test_concurrent_reads_return_the_right_bytes(
    store: SharedFiles, whole: bytes
) -> None:
    def read(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(500):
            index = rng.randrange(store.chunks.count)
            expected = whole[index * CHUNK :][:CHUNK]
            assert store.get_now(index) in (expected, None)
            assert store.get(index) == expected

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="reads may block here")
def test_open_files_in_memory_are_read_without_blocking(
    store: SharedFiles, whole: bytes
) -> None:
    assert store.get_now(0) is None, "the file is not open yet"
    store.get(0)
    assert store.get_many_now([0, 1, 10]) == [whole[:100], whole[100:200], None]


def edit(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"?")
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    other.replace(path)


def link(path: Path) -> None:
    aside = path.parent.parent / "aside"
    path.rename(aside)
    path.symlink_to(aside)


@pytest.mark.parametrize("change", [edit, replace, link, Path.unlink])
@pytest.mark.parametrize("is_open", [False, True])
def test_chunks_of_a_changed_file_are_returned_only_if_they_verify(
    store: SharedFiles, folder: Path, whole: bytes, change: object, is_open: bool
) -> None:
    def verify(index: int, data: Data) -> bool:
        return data == whole[index * CHUNK :][:CHUNK]

    if is_open:
        store.get(5)  # opens file 06 only
    assert callable(change)
    change(folder / "06")  # bytes 400 to 732
    assert store.get(3) == whole[300:400]
    if is_open and change is not edit:
        assert store.get(5) == whole[500:600], "the open file has its original bytes"
    else:
        with pytest.raises(SharedFileChangedError):
            store.get(4)
        assert store.get_now(5) is None
        assert store.changed is not None
        assert "06" in store.changed
        store.verify = verify
        if change is edit:
            assert store.get(5) == whole[500:600]
        with pytest.raises(SharedFileChangedError):
            store.get(4)
    assert store.get(8) == whole[800:900]


def test_a_change_that_keeps_size_and_time_is_found_among_many_files(
    store: SharedFiles, folder: Path, whole: bytes
) -> None:
    store.verify = lambda index, data: data == whole[index * CHUNK :][:CHUNK]
    assert store.get(4) == whole[400:500]
    path = folder / "06"
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(
        SharedFileChangedError, match="though size and time are the same"
    ):
        store.get(4)
    assert store.get(3) == whole[300:400]


def test_hashing_opens_each_file_once(folder: Path, whole: bytes) -> None:
    opened: list[str] = []

    class Watched(Disk):
        def open_read(
            self, path: Path | str, *, at: int | None = None, follow: bool = False
        ) -> int:
            opened.append(os.path.basename(path))
            return super().open_read(path, at=at, follow=follow)

        def read_whole(self, files: Iterable[WholeFile]) -> list[bytes | None]:
            found = list(files)
            opened.extend(os.path.basename(path) for path, _, _ in found)
            return super().read_whole(found)

    disk = Watched()
    tree = scan_folder(folder, disk=disk)
    opened.clear()
    store = SharedFiles.open_folder(tree, CHUNK, disk=disk, max_open=1)
    found = hash_chunks(store, digest, threads=1)
    expected = [digest(whole[i : i + CHUNK]) for i in range(0, len(whole), CHUNK)]
    assert found == b"".join(expected)
    assert opened == [f"{place:02}" for place, size in enumerate(SIZES) if size]
    assert not disk.open_files.files  # small files need not stay open
    store.close()


@pytest.mark.parametrize("change", [edit, replace, link, Path.unlink])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_during_hashing_is_an_error(
    store: SharedFiles, folder: Path, change: object, when: str
) -> None:
    assert callable(change)
    if when == "before":
        change(folder / "10")
    with pytest.raises(StoreError, match="share"):
        hash_chunks(
            store,
            digest,
            threads=1,
            progress=lambda done: change(folder / "01") if when == "after" else None,
        )


def test_a_file_that_changed_before_it_was_opened_is_not_hashed(
    store: SharedFiles, folder: Path
) -> None:
    edit(folder / "06")
    with pytest.raises(StoreError, match="06 changed while it was read"):
        store.read_into(memoryview(bytearray(10)), 450)


def test_a_special_file_in_place_of_a_shared_one_does_not_block(
    store: SharedFiles, folder: Path
) -> None:
    (folder / "01").unlink()
    os.mkfifo(folder / "01")
    with pytest.raises(SharedFileChangedError):
        store.get(0)
    (folder / "04").unlink()
    (folder / "04").symlink_to("/dev/zero")
    with pytest.raises(SharedFileChangedError):
        store.get(3)


def test_a_sparse_terabyte_can_be_scanned_and_read(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    with (tmp_path / "share" / "big").open("wb") as file:
        file.truncate(1 << 40)
    tree = scan_folder(tmp_path / "share", disk=Disk())
    store = SharedFiles.open_folder(tree, 4 << 20, disk=Disk())
    assert store.get(200_000) == bytes(4 << 20)
    store.close()


# Hashes that this process has not computed.


def test_an_untrusted_chunk_is_verified_once(folder: Path, whole: bytes) -> None:
    tree = scan_folder(folder, disk=Disk())
    store = SharedFiles.open_folder(tree, CHUNK, disk=Disk())
    verified: list[int] = []

    def verify(index: int, data: Data) -> bool:
        verified.append(index)
        return data == whole[index * CHUNK :][:CHUNK]

    store.trusted = False
    with pytest.raises(SharedFileChangedError):
        store.get(0)  # without `verify`
    store.verify = verify
    assert store.get_now(0) is None
    assert store.get(0) == store.get(0) == whole[:CHUNK]
    assert verified == [0]
    assert store.get_now(0) in (whole[:CHUNK], None)
    store.verify = lambda index, data: False
    with pytest.raises(
        SharedFileChangedError, match="though size and time are the same"
    ):
        store.get(1)
    with pytest.raises(SharedFileChangedError):
        store.get(1)
    store.close()


# An existing folder.


def test_an_existing_folder_is_opened_only_if_it_verifies(
    folder: Path, whole: bytes
) -> None:
    disk = Disk()
    files = [
        File(each.path, each.size) for each in scan_folder(folder, disk=disk).files
    ]
    (folder / "more").write_bytes(b"not part of the share")

    def verify(index: int, data: Data) -> bool:
        return data == whole[index * CHUNK :][:CHUNK]

    chunks = SharedFiles.open_folder(
        scan_folder(folder, disk=disk, exclude=["more"]), CHUNK, disk=disk
    ).chunks
    store = open_verified_target(folder, chunks, verify, disk=disk, files=files)
    assert store.get(3) == whole[300:400]
    assert store.have.is_complete
    store.close()
    edit(folder / "06")
    for expected in (files, [*files, File("zz", 0)]):
        with pytest.raises(TargetExistsError, match="was left unchanged"):
            open_verified_target(folder, chunks, verify, disk=disk, files=expected)
    with pytest.raises((TargetExistsError, UsageError)):
        open_verified_target(folder / "06", chunks, verify, disk=disk, files=files)
