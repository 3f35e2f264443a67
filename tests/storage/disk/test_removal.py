"""Removing a folder removes nothing outside of it."""

import os
from pathlib import Path

import pytest

from shoal.errors import StoreError
from shoal.storage.disk import removal
from shoal.storage.disk.osdisk import OsDisk
from shoal.storage.disk.removal import remove_all


def remove(folder: Path, name: str) -> None:
    disk = OsDisk()
    at = disk.open_directory(folder)
    assert at is not None
    remove_all(disk, name, at)
    disk.close(at)


def test_everything_in_it_goes_and_links_are_not_followed(tmp_path: Path) -> None:
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


def test_there_is_an_end_to_nesting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "MAX_DEPTH", 3)
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    with pytest.raises(StoreError, match="too deep"):
        remove(tmp_path, "a")
