"""Open folders: how many stay open, and for how long."""

import pytest

from shoal.storage.disk import folders
from shoal.storage.disk.disk import Identity
from shoal.storage.disk.folders import Folders
from tests.helpers.faulty_disk import FaultyDisk
from tests.storage.trees import ROOT


@pytest.fixture
def opened(disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setattr(folders, "MAX_OPEN", 2)
    root = disk.open_directory(ROOT)
    assert root is not None
    return Folders(disk, root)


def test_folders_made_together_are_open_together(
    disk: FaultyDisk, opened: Folders
) -> None:
    paths = ["a", "a/b", "a/b/c", "d", "e"]
    fds = opened.make_all(paths)
    states: list[Identity] = [disk.identity(fd) for fd in fds]
    assert len({state.inode for state in states}) == len(paths)
    again = [disk.identity(opened.make(path)) for path in paths]
    assert [state.inode for state in again] == [state.inode for state in states]


def test_those_beyond_the_limit_are_closed_with_the_next_call(
    disk: FaultyDisk, opened: Folders
) -> None:
    fds = opened.make_all(["a", "b", "c", "d"])
    opened.make("d")
    for fd in fds[:2]:
        with pytest.raises(KeyError):
            disk.identity(fd)
    assert all(disk.identity(fd).is_directory for fd in fds[2:])
