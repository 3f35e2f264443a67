"""The contents of the files of a faulty disk, with synced and unsynced writes.

Writes since the last sync are kept one by one, so a power loss can keep a random part.
"""

import os
import random
import stat
from typing import NamedTuple

from shoal.storage.disk.file_state import FileState

__all__ = ["SECTOR", "Inode", "Write"]

SECTOR = 64
"""Bytes that a power loss leaves either completely written or unchanged."""


class Write(NamedTuple):
    """A write of data at an offset; without data, a change of the size to `offset`."""

    offset: int
    data: bytes | None


class Inode:
    """One file or folder, without its name."""

    def __init__(self, number: int, mode: int) -> None:
        self.number = number
        self.mode = mode
        self.mtime = 0
        self.ctime = 0
        self.links = 1
        self.seen = bytearray()  # the content for reads
        self.safe = bytearray()  # the content that survives every power loss
        self.pending: list[Write] = []

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def identity(self) -> FileState:
        return FileState(
            1,
            self.number,
            len(self.seen),
            self.mtime,
            self.links,
            self.mode,
            os.geteuid(),
            self.ctime,
        )

    def do(self, write: Write, now: int) -> None:
        _apply(self.seen, write)
        self.pending.append(write)
        self.mtime = self.ctime = now

    def sync(self) -> None:
        for write in self.pending:
            _apply(self.safe, write)
        self.pending.clear()

    def lose_power(self, rng: random.Random) -> None:
        """Keep a random part of the unsynced writes."""
        for write in self.pending:
            _apply_some(self.safe, write, rng)
        self.pending.clear()
        self.seen[:] = self.safe
        self.links = 1


def _apply(data: bytearray, write: Write) -> None:
    end = write.offset + len(write.data or b"")
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    if write.data is None:
        del data[end:]
    else:
        data[write.offset : end] = write.data


def _apply_some(data: bytearray, write: Write, rng: random.Random) -> None:
    """Apply a write completely, partly or not at all."""
    kind = rng.randrange(3)
    if kind == 0:
        return
    if kind == 1 or write.data is None:
        _apply(data, write)
        return
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if rng.random() < 0.5:
            torn = write.data[start - write.offset : stop - write.offset]
            _apply(data, Write(start, torn))
        start = stop
