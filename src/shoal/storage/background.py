"""The shares that this user serves in the background, by process.

Each such process has a file in a folder for this user only, whose name is the process
id, with a hash of the share's id. The process keeps the file locked. A file that is not
locked is of a process that has ended, whose number another program may have now. A
folder that another user may write to is not used: `stop` sends signals to processes
with these numbers.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shoal.errors import ShoalError, StoreError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.own_folders import make_directories, opened_own, prune

__all__ = [
    "BackgroundShare",
    "note_background",
    "open_log",
    "running_in_background",
    "stop",
]

FOLDER, LOGS = "background", "logs"
MAX_LOGS = 50  # files
MAX_LOGS_SIZE = 8 << 20  # bytes
STOP_TIME = 15.0  # seconds for a process to send what peers wait for, and end
POLL = 0.05  # seconds between looks at whether it has ended
_SIZE = 64  # bytes of a note: a hash in hexadecimal digits


class BackgroundShare(NamedTuple):
    """A process that serves a share."""

    pid: int
    identity: str
    """64 hexadecimal digits that no other share has; they are no secret."""
    note: Path
    """Its file."""


def note_background(home: Path, identity: bytes, disk: Disk) -> None:
    """Note, until this process ends, that it serves a share. Raises `StoreError`."""
    folder, draft = home / FOLDER, f".{os.getpid()}"
    make_directories(disk, folder)
    with opened_own(disk, folder) as at:
        if at is None:
            raise StoreError(f"Another program removed {folder}; try again.")
        fd = disk.open_write(draft, at=at)  # open as long as the process runs
        disk.lock(fd)
        disk.pwrite(fd, [identity.hex().encode()], 0)
        # In place of one of an earlier process with this number.
        disk.rename(draft, str(os.getpid()), at=at, to=at)


def open_log(home: Path, disk: Disk) -> tuple[int, Path]:
    """Create the file for the messages of this process; return it and its path.

    The oldest such files are removed. Raises `StoreError`.
    """
    folder = home / FOLDER / LOGS
    make_directories(disk, folder)
    path = folder / f"{os.getpid()}.log"
    with opened_own(disk, folder) as at:
        if at is None:
            raise StoreError(f"Another program removed {folder}; try again.")
        prune(disk, at, MAX_LOGS_SIZE, MAX_LOGS)
        disk.unlink(path.name, at=at)
        return disk.open_write(path.name, at=at), path


def running_in_background(home: Path, disk: Disk) -> Iterator[BackgroundShare]:
    """Yield the processes that run; remove the files of those that have ended.

    Raises `ForbiddenError` if another user may write to the folder of these files.
    """
    folder = home / FOLDER
    with opened_own(disk, folder) as at:
        if at is None:
            return
        for name in disk.list_directory(at):
            if name.isascii() and name.isdigit():
                with suppress(ShoalError):
                    identity = _read(name, at, disk)
                    if identity is None:
                        disk.unlink(name, at=at)
                    else:
                        yield BackgroundShare(int(name), identity, folder / name)


def stop(share: BackgroundShare, disk: Disk) -> bool:
    """End a process, and wait until it has ended; return False if it does not."""
    with suppress(ProcessLookupError):
        os.kill(share.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIME
    with opened_own(disk, share.note.parent) as at:
        while time.monotonic() < deadline:
            if at is None:
                return True
            if _read(share.note.name, at, disk) is None:
                disk.unlink(share.note.name, at=at)
                return True
            time.sleep(POLL)
    return False


def _read(name: str, at: int, disk: Disk) -> str | None:
    """Return the identity in a note; None if its process has ended."""
    if disk.state_at(name, at=at) is None:
        return None
    fd = disk.open_write(name, at=at)
    try:
        if disk.lock(fd):
            return None
        return disk.pread(fd, _SIZE, 0).decode("ascii", "replace")
    finally:
        disk.close(fd)
