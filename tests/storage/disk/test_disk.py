"""The calls of the real disk: what they refuse, and what they do where others fail."""

import os
import sys
from errno import EACCES, EDQUOT, EINVAL, EIO, ENOSPC, ENOSYS
from pathlib import Path

import pytest

from shoal.errors import (
    DiskFullError,
    ForbiddenError,
    StoreError,
    TargetExistsError,
    UsageError,
)
from shoal.storage.disk import linux, system
from shoal.storage.disk.disk import UNKNOWN_BOOT, Disk
from shoal.storage.disk.system import translate
from tests.helpers.faulty.disk import FaultyDisk


def test_a_faulty_disk_replaces_every_method() -> None:
    public = {name for name in vars(Disk) if not name.startswith("_")}
    # A number, and `states_at` for one name.
    public -= {"open_files", "state_at"}
    assert public <= vars(FaultyDisk).keys()


def test_a_fifo_does_not_block_and_a_link_is_not_followed(tmp_path: Path) -> None:
    disk = Disk()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for opening in (disk.open_read, disk.open_write):
        with pytest.raises(UsageError, match="not a regular file"):
            opening(tmp_path / "fifo")
        with pytest.raises(StoreError):
            opening(tmp_path / "link")
    disk.close(disk.open_read(tmp_path / "link", follow=True))


@pytest.mark.parametrize("means", ["kernel", "link", "claim"])
def test_rename_new_never_replaces(
    tmp_path: Path, means: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*args: object, **kwargs: object) -> None:
        raise OSError(EINVAL, "unsupported")

    if means != "kernel":
        monkeypatch.setattr(system, "rename_without_replacing", unsupported)
    if means == "claim":
        monkeypatch.setattr(os, "link", unsupported)
    disk = Disk()
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    with pytest.raises(TargetExistsError):
        disk.rename(old, new, replace=False)
    assert (old.read_bytes(), new.read_bytes()) == (b"old", b"new")
    new.unlink()
    disk.rename(old, new, replace=False)
    assert new.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["new"]
    (tmp_path / "folder").mkdir()
    with pytest.raises((TargetExistsError, StoreError)):
        disk.rename(tmp_path / "folder", new, replace=False)
    disk.rename(tmp_path / "folder", old, replace=False)
    assert old.is_dir()


def test_allocate_works_where_the_kernel_cannot_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    for place, number in enumerate((0, ENOSYS)):
        if number:

            def fail(fd: int, size: int) -> None:
                raise OSError(ENOSYS, "no such call")

            monkeypatch.setattr(linux, "fallocate", fail)
        fd = disk.open_write(tmp_path / str(place))
        disk.allocate(fd, 1_000_000)
        assert disk.state(fd).size == 1_000_000
        disk.close(fd)


def test_short_writes_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    fd = disk.open_write(tmp_path / "file")

    def write_some(fd: int, buffers: list[bytes], offset: int) -> int:
        whole = b"".join(bytes(buffer) for buffer in buffers)
        return os.pwrite(fd, whole[: 1 + len(whole) // 3], offset)

    monkeypatch.setattr(os, "pwritev", write_some)
    disk.pwrite(fd, [b"abc", bytearray(b"de"), memoryview(b"fghij"), b"", b"k"], 2)
    assert disk.pread(fd, 100, 0) == b"\0\0abcdefghijk"
    into = bytearray(20)
    assert disk.pread_into(fd, into, 3) == 10
    assert into[:10] == b"bcdefghijk"
    disk.close(fd)


def test_reads_past_the_end_are_short_or_none(tmp_path: Path) -> None:
    disk = Disk()
    (tmp_path / "file").write_bytes(bytes(100))
    fd = disk.open_read(tmp_path / "file")
    assert disk.pread_now(fd, 101, 0) is None
    disk.close(fd)
    assert disk.pread_now(fd, 10, 0) is None
    with pytest.raises(StoreError, match="Could not read a closed file"):
        disk.pread(fd, 10, 0)


def test_missing_files_and_folders_are_not_errors(tmp_path: Path) -> None:
    disk = Disk()
    disk.unlink(tmp_path / "no")
    assert disk.remove_directory(tmp_path / "no")
    assert disk.state_at(tmp_path / "no" / "deeper") is None
    disk.make_directory(tmp_path / "a")
    disk.make_directory(tmp_path / "a")
    (tmp_path / "a" / "b").touch()
    assert not disk.remove_directory(tmp_path / "a")
    with pytest.raises(StoreError):
        disk.unlink(tmp_path / "a")
    assert disk.free_space(tmp_path) > 0


def test_the_boot_id_stays_the_same_until_a_restart() -> None:
    boot_id = Disk().boot_id()
    assert len(boot_id) == 16
    assert boot_id == Disk().boot_id()
    if sys.platform == "linux":
        assert boot_id != UNKNOWN_BOOT


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (ENOSPC, DiskFullError, "no space for /a. Free some space"),
        (EDQUOT, DiskFullError, "no space for /a. Free some space"),
        (EACCES, ForbiddenError, "does not allow shoal to write /a"),
        (EIO, StoreError, "Could not write /a"),
    ],
)
def test_system_errors_become_shoal_errors_with_advice(
    number: int, kind: type[StoreError], said: str
) -> None:
    error = translate(OSError(number, os.strerror(number)), "/a", "write")
    assert type(error) is kind
    assert said in str(error)
