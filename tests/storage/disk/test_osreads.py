"""Many small reads of what memory holds, beside doing them one by one."""

from pathlib import Path

import pytest

from shoal.storage.disk import osreads
from shoal.storage.disk.osdisk import OsDisk

CONTENT = bytes(range(256)) * 40


def test_many_reads_are_those_of_each(tmp_path: Path) -> None:
    disk = OsDisk()
    (tmp_path / "file").write_bytes(CONTENT)
    fd = disk.open_read(tmp_path / "file")
    offsets = [5000, 0, 5000, 9_000, len(CONTENT) - 300, len(CONTENT) - 299, 20_000]
    for size in (1, 300, 1240):
        one_by_one = [disk.pread_now(fd, size, offset) for offset in offsets]
        assert disk.pread_many_now(fd, size, offsets) == one_by_one
    assert disk.pread_many_now(fd, 10, []) == []
    disk.close(fd)
    assert disk.pread_many_now(fd, 10, [0, 10]) == [None, None]


def test_where_the_system_cannot_say_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = OsDisk()
    (tmp_path / "file").write_bytes(CONTENT)
    fd = disk.open_read(tmp_path / "file")
    monkeypatch.setattr(osreads, "_NOWAIT", 0)
    assert disk.pread_many_now(fd, 10, [0, 10]) == [None, None]
    disk.close(fd)
