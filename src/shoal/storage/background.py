"""The shares that this user serves in the background, by process.

Each such process has a file in a folder for this user only, whose name is the process
id, with a hash of the share's id. The process keeps the file locked. A file that is not
locked is of a process that has ended, whose number another program may have now.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shoal.errors import ShoalError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.folders import make_directories, prune

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
    folder = home / FOLDER
    make_directories(disk, folder, flush=False)
    draft = folder / f".{os.getpid()}"
    fd = disk.open_write(draft)  # it stays open as long as the process runs
    disk.lock(fd)
    disk.pwrite(fd, [identity.hex().encode()], 0)
    # In place of one of an earlier process with this number.
    disk.rename(draft, folder / str(os.getpid()))


def open_log(home: Path, disk: Disk) -> tuple[int, Path]:
    """Create the file for the messages of this process; return it and its path.

    The oldest such files are removed. Raises `StoreError`.
    """
    folder = home / FOLDER / LOGS
    make_directories(disk, folder, flush=False)
    at = disk.open_directory(folder)
    if at is not None:
        prune(disk, at, MAX_LOGS_SIZE, MAX_LOGS)
        disk.close(at)
    path = folder / f"{os.getpid()}.log"
    disk.unlink(path)
    return disk.open_write(path), path


def running_in_background(home: Path, disk: Disk) -> Iterator[BackgroundShare]:
    """Yield the processes that run; remove the files of those that have ended."""
    folder = home / FOLDER
    at = disk.open_directory(folder)
    if at is None:
        return
    try:
        names = disk.list_directory(at)
    finally:
        disk.close(at)
    for name in names:
        if name.isascii() and name.isdigit():
            with suppress(ShoalError):
                identity = _read(folder / name, disk)
                if identity is None:
                    disk.unlink(folder / name)
                else:
                    yield BackgroundShare(int(name), identity, folder / name)


def stop(share: BackgroundShare, disk: Disk) -> bool:
    """End a process, and wait until it has ended; return False if it does not."""
    with suppress(ProcessLookupError):
        os.kill(share.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIME
    while time.monotonic() < deadline:
        if _read(share.note, disk) is None:
            disk.unlink(share.note)
            return True
        time.sleep(POLL)
    return False


def _read(path: Path, disk: Disk) -> str | None:
    """Return the identity in a note; None if its process has ended."""
    if disk.state_at(path) is None:
        return None
    fd = disk.open_write(path)
    try:
        if disk.lock(fd):
            return None
        return disk.pread(fd, _SIZE, 0).decode("ascii", "replace")
    finally:
        disk.close(fd)
