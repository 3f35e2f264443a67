"""Opening folders, and removing folders with their contents."""

import os
from pathlib import Path

import pytest

from shoal.storage.disk import folders
from shoal.storage.disk.disk import Disk, Name
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.folders import Folders, remove_all
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_folder import ROOT


@pytest.fixture
def opened(disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setattr(folders, "MAX_OPEN", 2)
    root = disk.open_directory(ROOT)
    assert root is not None
    return Folders(disk, root)


def test_folders_created_together_are_open_together(
    disk: FaultyDisk, opened: Folders
) -> None:
    paths = ["a", "a/b", "a/b/c", "d", "e"]
    fds = opened.make_all(paths)
    states: list[FileState] = [disk.state(fd) for fd in fds]
    assert len({state.inode for state in states}) == len(paths)
    again = [disk.state(opened.make(path)) for path in paths]
    assert [state.inode for state in again] == [state.inode for state in states]


def test_folders_beyond_the_limit_are_closed_by_the_next_call(
    disk: FaultyDisk, opened: Folders
) -> None:
    fds = opened.make_all(["a", "b", "c", "d"])
    opened.make("d")
    for fd in fds[:2]:
        with pytest.raises(KeyError):
            disk.state(fd)
    assert all(disk.state(fd).is_directory for fd in fds[2:])


def remove(folder: Path, name: str) -> None:
    disk = Disk()
    at = disk.open_directory(folder)
    assert at is not None
    remove_all(disk, name, at)
    disk.close(at)


def test_a_folder_is_removed_with_its_contents_without_following_links(
    tmp_path: Path,
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    inside = tmp_path / "in"
    (inside / "a" / "b").mkdir(parents=True)
    (inside / "a" / "b" / "file").touch()
    (inside / "link").symlink_to(outside)
    os.mkfifo(inside / "fifo")
    remove(tmp_path, "in")
    remove(tmp_path, "in")
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["file"]
    (tmp_path / "link").symlink_to(outside)
    remove(tmp_path, "link")
    assert os.listdir(tmp_path) == ["outside"]


def test_a_folder_of_any_depth_is_removed_with_few_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    opened: set[int] = set()

    class Counting(Disk):
        def open_directory(
            self, path: Name, *, at: int | None = None, follow: bool = False
        ) -> int | None:
            nonlocal most
            fd = super().open_directory(path, at=at, follow=follow)
            if fd is not None:
                opened.add(fd)
            most = max(most, len(opened))
            return fd

        def close(self, fd: int) -> None:
            opened.discard(fd)
            super().close(fd)

    deep = tmp_path.joinpath("top", *["d"] * 100)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (deep.parent / "other" / "d").mkdir(parents=True)
    disk = Counting()
    at = disk.open_directory(tmp_path)
    assert at is not None
    remove_all(disk, "top", at)
    disk.close(at)
    assert os.listdir(tmp_path) == []
    assert most <= folders.MAX_HELD + 1


def test_a_deep_folder_is_made_with_few_descriptors(
    disk: FaultyDisk, opened: Folders
) -> None:
    path = "/".join("d" * 100)
    fd, other = opened.make_all([path, "e"])
    assert disk.state(fd).is_directory
    assert disk.state(other).is_directory
    assert len(opened._open) <= 4
    assert disk.state(opened.make(path)).inode == disk.state(fd).inode
