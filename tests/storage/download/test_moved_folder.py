"""A download never leaves the folder in which it began, however its path changes."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_tree import File
from shoal.errors import ShoalError, StoreError
from shoal.storage.disk.disk import Disk
from shoal.storage.download.filestore import FileStore
from shoal.storage.download.staging import Staging
from tests.helpers.requirements import require

IDENTITY = sha256(b"share").digest()
DATA = b"from the share"
CHUNKS = Chunks(len(DATA), 1 << 14)
FOLDER = [File("a/b", len(DATA), False)]


class MovingDisk(Disk):
    """A disk on which another user replaces a folder before a call of any kind."""

    def __init__(self, move: Callable[[], None], when: int) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._move = move
        self._when = when

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in _CALLS:
            self.calls.append(name)
            if len(self.calls) == self._when:
                self._move()
        return found


_CALLS = {name for name in vars(Disk) if not name.startswith("_")} - {"open_files"}


class Place:
    """A folder for a download, and another that its owner puts in its place."""

    def __init__(self, root: Path) -> None:
        self.folder, self.moved = root / "folder", root / "moved"
        self.elsewhere = root / "elsewhere"
        for each in (self.folder, self.elsewhere):
            each.mkdir(parents=True)
        for place in (self.folder, self.elsewhere):
            (place / "target").write_bytes(b"precious")

    def move(self) -> None:
        """Move the folder away and put a link in its place."""
        self.folder.rename(self.moved)
        self.folder.symlink_to(self.elsewhere)

    def check(self) -> None:
        """Nothing has been made, changed or removed where the link leads."""
        target = self.elsewhere / "target"
        assert os.listdir(self.elsewhere) in ([], ["target"])
        assert not target.exists() or target.read_bytes() == b"precious"


def download(place: Place, disk: Disk, files: list[File] | None) -> None:
    if files is not None:
        (place.folder / "target").unlink()
        (place.elsewhere / "target").unlink()
    store = FileStore.open(
        place.folder / "target",
        IDENTITY,
        CHUNKS,
        disk=disk,
        files=files,
        overwrite=files is None,
    )
    try:
        store.put(0, DATA)
        store.finish()
    finally:
        store.close()


@pytest.mark.parametrize("files", [None, FOLDER], ids=["file", "folder"])
def test_a_folder_that_is_replaced_at_any_call_leads_nowhere_else(
    files: list[File] | None, tmp_path: Path
) -> None:
    disk = MovingDisk(lambda: None, 0)
    download(Place(tmp_path / "0"), disk, files)
    completed = 0
    # Until the folder is opened, it is whatever is at its path.
    first = disk.calls.index("open_directory") + 2
    for when in range(first, len(disk.calls) + 1):
        place = Place(tmp_path / str(when))
        try:
            download(place, MovingDisk(place.move, when), files)
        except ShoalError:
            pass
        else:
            completed += 1
        place.check()
    assert completed, "no download ended in the folder that was moved"


def test_a_folder_that_was_moved_keeps_the_download(tmp_path: Path) -> None:
    place = Place(tmp_path)
    target = place.folder / "target"
    disk = Disk()
    store = FileStore.open(target, IDENTITY, CHUNKS, disk=disk, overwrite=True)
    store.put(0, DATA)
    place.move()
    with pytest.raises(StoreError, match="moved or replaced"):
        store.finish()
    store.close()
    place.check()
    assert (place.moved / "target").read_bytes() == b"precious"
    # With the new path, nothing has to be downloaded again.
    moved = place.moved / "target"
    store = FileStore.open(moved, IDENTITY, CHUNKS, disk=disk, overwrite=True)
    assert store.is_complete
    store.finish()
    store.close()
    assert moved.read_bytes() == DATA
    assert os.listdir(place.moved) == ["target"]


def test_overwriting_replaces_the_name_and_not_the_file(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.folder / "target").unlink()
    os.link(place.elsewhere / "target", place.folder / "target")
    download(place, Disk(), None)
    assert (place.folder / "target").read_bytes() == DATA
    place.check()


def test_a_staging_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    require(None if os.geteuid() == 0 else "needs root to change an owner")
    staging = Staging(tmp_path / "target", IDENTITY, Disk())
    staging.directory.mkdir(0o700)
    os.chown(staging.directory, 65534, 65534)
    with pytest.raises(ShoalError, match="not a folder that you own"):
        staging.lock()

    # Also if it takes the place of ours just after that was made.
    class Late(Disk):
        def open_directory(self, path: Any, **options: Any) -> int | None:
            fd = super().open_directory(path, **options)
            if options.get("at") is not None:
                os.chown(staging.directory, 65534, 65534)
            return fd

    staging.directory.rmdir()
    with pytest.raises(ShoalError):
        Staging(tmp_path / "target", IDENTITY, Late()).lock()
    assert os.listdir(staging.directory) == []
