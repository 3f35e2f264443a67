"""Reading what memory holds anyway, many times in a row.

A server of small chunks does little else, so here every step is one that has to be.
"""

import os
from collections.abc import Iterable

__all__ = ["OsReads"]

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class OsReads:
    """Do what `Disk` says of many reads on this machine's file system."""

    def pread_many_now(
        self, fd: int, size: int, offsets: Iterable[int]
    ) -> list[bytes | None]:
        """Return what `pread_now` would for `size` bytes from each offset on."""
        if not _NOWAIT:
            return [None for _ in offsets]
        found: list[bytes | None] = []
        into = bytearray(size)
        buffers, read = (into,), os.preadv
        for offset in offsets:
            try:
                is_whole = read(fd, buffers, offset, _NOWAIT) == size
            except OSError:  # would wait, or cannot tell
                is_whole = False
            found.append(bytes(into) if is_whole else None)
        return found
