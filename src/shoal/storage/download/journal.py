"""The journal: which chunks are on disk, so that nothing is fetched twice.

It is a header and then records of eight bytes that are only ever appended, so
that a torn end is harmless: reading stops at the first record that is not what
was written, and what follows is dropped. A record is

    u32 value    the index of a chunk that is written in the data file,
                 0x80000000 + n: all chunks journalled before this record, but for
                     the last n, are in the data file for good (it was synced),
                 0xFFFFFFFF: syncing failed; what was not for good is lost
    u32 crc32    of value and the record's number, begun with the header's crc32,
                 so that a record counts in its own place and journal only

Whom to believe: the page cache outlives a process, not the machine. If the
machine is still in the boot the header names, all records count; else only what
a commit mark covers. A mark carries how many records it leaves out because chunks
go on being written while the data file is synced by another thread.

The functions and `JournalContents` are pure. `Journal` appends, through a `Disk`; one
thread may append chunks while another commits.
"""

import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from zlib import crc32

from shoal.errors import StoreError
from shoal.storage.disk.disk import UNKNOWN_BOOT, Disk

__all__ = [
    "HEADER_SIZE",
    "MAX_CHUNKS",
    "RECORD_SIZE",
    "VERSION",
    "VOID",
    "Header",
    "Journal",
    "JournalContents",
    "decode",
    "encode_mark",
    "encode_records",
]

VERSION = 1
MAX_CHUNKS = 0x7FFFFFFF
"""How many chunks a journal can tell apart."""
VOID = 0xFFFFFFFF
"""The value of the record that says: what was not committed is lost."""

_MAGIC = b"shoaljnl"
_MARK = 0x80000000
_HEADER = struct.Struct(">8sI32sQI16s8s")
_CRC = struct.Struct(">I")
_RECORD = struct.Struct(">II")
_NUMBERED = struct.Struct(">IQ")

# The padding keeps records aligned, so that no disk sector ends inside of one.
HEADER_SIZE = -(-(_HEADER.size + _CRC.size) // _RECORD.size) * _RECORD.size
"""In bytes."""
RECORD_SIZE = _RECORD.size
"""In bytes."""


class Header(NamedTuple):
    """Say whose journal it is, and when it was begun."""

    identity: bytes
    """32 bytes that name the share."""
    size: int
    """Of the share, in bytes."""
    chunk_size: int
    """In bytes."""
    boot_id: bytes
    """16 bytes: the boot of the machine in which it was begun."""
    salt: bytes
    """8 random bytes, so that no record of an older journal fits in this one."""

    def encode(self) -> bytes:
        """Return the `HEADER_SIZE` bytes that a journal begins with."""
        head = _HEADER.pack(_MAGIC, VERSION, *self)
        return (head + _CRC.pack(crc32(head))).ljust(HEADER_SIZE, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> "Header | None":
        """Read a header back; None when it is not one, or of another version."""
        if len(data) < HEADER_SIZE:
            return None
        head = data[: _HEADER.size]
        magic, version, *fields = _HEADER.unpack(head)
        if magic != _MAGIC or version != VERSION:
            return None
        if data[_HEADER.size : HEADER_SIZE] != cls(*fields).encode()[_HEADER.size :]:
            return None
        return cls(*fields)

    @property
    def seed(self) -> int:
        """Return what the checksum of every record begins with."""
        return crc32(_HEADER.pack(_MAGIC, VERSION, *self))


class JournalContents(NamedTuple):
    """Hold what a journal says."""

    header: Header
    indexes: Sequence[int]
    """The chunks journalled, in the order they were written."""
    committed: int
    """How many of them, from the first on, a commit mark covers."""
    records: int
    """How many good records it has, marks included."""

    def trusted(self, boot_id: bytes) -> Sequence[int]:
        """Return the chunks to believe in now that the machine runs as `boot_id`."""
        if boot_id == self.header.boot_id != UNKNOWN_BOOT:
            return self.indexes
        return self.indexes[: self.committed]


def encode_records(values: Sequence[int], number: int, seed: int) -> bytes:
    """Return the records of some values, the first being record `number`."""
    return b"".join(
        _RECORD.pack(value, crc32(_NUMBERED.pack(value, number + place), seed))
        for place, value in enumerate(values)
    )


def encode_mark(uncovered: int) -> int:
    """Return the value of a mark that covers all but the last `uncovered` chunks."""
    return _MARK + uncovered


def decode(data: bytes) -> JournalContents | None:
    """Read a journal up to its first bad record; None when the header is bad."""
    header = Header.decode(data)
    if header is None:
        return None
    seed = header.seed
    count = -(-header.size // header.chunk_size) if header.chunk_size else 0
    end = len(data) - (len(data) - HEADER_SIZE) % RECORD_SIZE
    indexes: list[int] = []
    committed = number = 0
    for value, check in _RECORD.iter_unpack(memoryview(data)[HEADER_SIZE:end]):
        if check != crc32(_NUMBERED.pack(value, number), seed):
            break
        if value < count:
            indexes.append(value)
        elif value == VOID:
            del indexes[committed:]
            break  # nothing is ever appended after it
        elif 0 <= (covered := len(indexes) - (value - _MARK)) <= len(indexes):
            committed = max(committed, covered)
        else:
            break
        number += 1
    return JournalContents(header, indexes, committed, number)


class Journal:
    """Append to an open journal file."""

    def __init__(self, disk: Disk, fd: int, header: Header) -> None:
        self.fd = fd
        """The journal file, which carries the lock; whoever made it closes it."""
        self._disk = disk
        self._seed = header.seed
        self._records = 0
        self._chunks = 0
        self._appending = threading.Lock()

    @property
    def chunks(self) -> int:
        """Return how many chunks have been journalled."""
        return self._chunks

    @classmethod
    def begin(
        cls, disk: Disk, fd: int, header: Header, indexes: Sequence[int]
    ) -> "Journal":
        """Write a journal into an empty file that has `indexes`, all committed.

        It is on disk for good when this returns; the chunks must be so before.
        """
        journal = cls(disk, fd, header)
        disk.pwrite(fd, [header.encode()], 0)
        journal.append(indexes)
        journal.mark(len(indexes))
        disk.fdatasync(fd)
        return journal

    @classmethod
    def reopen(cls, disk: Disk, fd: int, contents: JournalContents) -> "Journal":
        """Go on with a journal that has been read."""
        journal = cls(disk, fd, contents.header)
        journal._records = contents.records
        journal._chunks = len(contents.indexes)
        return journal

    def append(self, indexes: Sequence[int]) -> None:
        """Note, in one write, that these chunks are written in the data file."""
        with self._appending:
            self._append(indexes)
            self._chunks += len(indexes)

    def mark(self, covered: int) -> None:
        """Note that the first `covered` chunks are there for good.

        `covered` is what `chunks` was before the data file was synced. The mark
        counts once the journal is synced as well.
        """
        with self._appending:
            self._append([encode_mark(self._chunks - covered)])

    def void(self) -> None:
        """Note that no chunk since the last commit is to be believed in.

        It is the answer to a sync that failed, so it works even on a disk on which
        not much works: should the note fail as well, all notes are taken back.
        """
        with self._appending, suppress(StoreError):
            try:
                self._append([VOID])
            except StoreError:
                self._disk.truncate(self.fd, 0)

    def _append(self, values: Sequence[int]) -> None:
        data = encode_records(values, self._records, self._seed)
        offset = HEADER_SIZE + self._records * RECORD_SIZE
        # A write that failed half-way is overwritten by the next.
        self._disk.pwrite(self.fd, [data], offset)
        self._records += len(values)
