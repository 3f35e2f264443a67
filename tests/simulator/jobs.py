"""What became of one job, and the files that machines begin with."""

from pathlib import Path
from typing import Any

from tests.helpers.faulty.disk import FaultyDisk
from tests.simulator.plan import Job, Share

__all__ = ["JobState", "make_folders", "write_file"]


def write_file(disk: FaultyDisk, path: Path, data: bytes) -> None:
    """Put a file on a disk, with its folders."""
    make_folders(disk, path.parent)
    fd = disk.create(path)
    assert fd is not None
    disk.pwrite(fd, [data], 0)
    disk.fdatasync(fd)
    disk.close(fd)
    disk.fsync_directory(path.parent)


def make_folders(disk: FaultyDisk, path: Path) -> None:
    """Make a folder and those that contain it."""
    for folder in [*reversed(path.parents), path]:
        if len(folder.parts) > 1:
            disk.make_directory(folder)
            disk.fsync_directory(folder.parent)


class JobState:
    """Hold what became of one job."""

    def __init__(self, job: Job, out: Path) -> None:
        self.job = job
        self.out = out
        self.status = "waiting"
        """`waiting`, `running`, `done` or `failed`."""
        self.error: BaseException | None = None
        self.began_at = 0.0
        self.stopped_before = 0.0
        """How long its machine had been stopped when it began."""
        self.was_done = False
        """Whether an earlier process of the machine finished it."""
        self.ended_at = 0.0
        self.result: Any = None
        self.read = b""
        """What a read of an open channel has yielded."""
        self.index = 0
        """The chunk that it has read, if it reads one."""

    @property
    def is_served(self) -> bool:
        """Return True if what it fetched is served now."""
        return self.result is not None and self.result.share is not None

    def wanted(self, share: Share) -> set[int]:
        """Return the chunks of its share that it fetches or reads."""
        if self.job.kind == "chunk":
            return {self.index}
        return share.chunks_of(self.job.selects)

    def __str__(self) -> str:
        job = self.job
        what = f"m{job.machine} {job.kind} s{job.share} {self.status}"
        return f"{what} {self.error!r}" if self.error else what
