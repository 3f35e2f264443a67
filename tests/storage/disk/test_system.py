"""Creation of many small files and many small reads, on the real disk."""

import os
from pathlib import Path

import pytest

from shoal.errors import StoreError
from shoal.storage.disk import disk as disk_module
from shoal.storage.disk.disk import Disk, NewFiles

CONTENT = bytes(range(256)) * 40
FILES = 60  # per folder; two folders are enough for a second thread


def new_files(disk: Disk, path: Path) -> NewFiles:
    path.mkdir()
    fd = disk.open_directory(path)
    assert fd is not None
    return fd, [(str(i), f"{path.name}/{i}".encode(), 0o640) for i in range(FILES)]


def close_all(disk: Disk, folders: list[NewFiles]) -> None:
    for fd, _ in folders:
        disk.close(fd)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_each_file_is_created_in_its_own_folder(tmp_path: Path, count: int) -> None:
    disk = Disk()
    folders = [new_files(disk, tmp_path / f"at{turn}") for turn in range(count)]
    assert disk.write_new(folders) == [FILES] * count
    wanted = 0o640 & disk.permitted(folders[0][0])
    close_all(disk, folders)
    for path in tmp_path.iterdir():
        found = {each.name: each.read_bytes() for each in path.iterdir()}
        assert found == {str(i): f"{path.name}/{i}".encode() for i in range(FILES)}
    assert (tmp_path / "at0" / "0").stat().st_mode & 0o777 == wanted


def test_an_existing_name_ends_its_folder_but_not_the_others(tmp_path: Path) -> None:
    disk = Disk()
    folders = [new_files(disk, tmp_path / f"at{turn}") for turn in range(3)]
    (tmp_path / "at1" / "5").write_bytes(b"of another program")
    assert disk.write_new(folders) == [FILES, 5, FILES]
    close_all(disk, folders)
    assert (tmp_path / "at1" / "5").read_bytes() == b"of another program"
    assert sorted(os.listdir(tmp_path / "at1")) == list("012345")


@pytest.mark.parametrize("wrong", range(4))
def test_an_error_in_either_thread_is_raised(tmp_path: Path, wrong: int) -> None:
    disk = Disk()
    folders = [new_files(disk, tmp_path / f"at{turn}") for turn in range(4)]
    fd, files = folders[wrong]
    folders[wrong] = fd, [*files[:3], ("no/such/folder", b"", 0o600), *files[3:]]
    with pytest.raises(StoreError, match="no/such/folder"):
        disk.write_new(folders)
    close_all(disk, folders)


def test_many_reads_return_the_same_as_single_reads(tmp_path: Path) -> None:
    disk = Disk()
    (tmp_path / "file").write_bytes(CONTENT)
    fd = disk.open_read(tmp_path / "file")
    offsets = [5000, 0, 5000, 9_000, len(CONTENT) - 300, len(CONTENT) - 299, 20_000]
    for size in (1, 300, 1240):
        one_by_one = [disk.pread_now(fd, size, offset) for offset in offsets]
        assert disk.pread_many_now(fd, size, offsets) == one_by_one
    assert disk.pread_many_now(fd, 10, []) == []
    disk.close(fd)
    assert disk.pread_many_now(fd, 10, [0, 10]) == [None, None]


def test_without_nowait_reads_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    (tmp_path / "file").write_bytes(CONTENT)
    fd = disk.open_read(tmp_path / "file")
    monkeypatch.setattr(disk_module, "_NOWAIT", 0)
    assert disk.pread_many_now(fd, 10, [0, 10]) == [None, None]
    disk.close(fd)
