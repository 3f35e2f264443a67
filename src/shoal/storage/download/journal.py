"""The journal lists the chunks that are stored, so that none is downloaded twice.

A journal is a header and then records of eight bytes. Records are only appended, so an
incomplete end is harmless: reading stops at the first record that is not valid and
ignores everything after it. A record is

    u32 value    one of
                 the index of a chunk that was written to the data files,
                 0x80000000 + n, a commit mark: all chunks recorded before it, except
                     the last n, were flushed to the disk,
                 0xFFFFFFFF: flushing failed; all chunks without a commit mark are lost
    u32 crc32    of the value and the number of the record, with the header's crc32 as
                 start value, so a record is valid only in its own place and journal

The page cache survives a killed process but not a restart of the machine. So if the
boot id in the header is that of the running machine, all records count; otherwise only
those that a commit mark covers. A mark excludes the last n chunks because one thread
continues to write chunks while another flushes the data files.

The functions and `JournalContents` are pure. `Journal` appends records by means of a
`Disk`; one thread may append chunks while another commits.
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
    "MARK",
    "MAX_CHUNKS",
    "RECORD_SIZE",
    "VERSION",
    "VOID",
    "Header",
    "Journal",
    "JournalContents",
    "decode",
    "encode_records",
]

VERSION = 1
MAX_CHUNKS = 0x7FFFFFFF
"""The most chunks that a journal can number."""
MARK = 0x80000000
"""The value of a commit mark that covers all chunks; add how many it does not."""
VOID = 0xFFFFFFFF
"""The value of a record after which uncommitted chunks no longer count."""

_MAGIC = b"shoaljnl"
_HEADER = struct.Struct(">8sI32sQI16s8s")
_CRC = struct.Struct(">I")
_RECORD = struct.Struct(">II")
_NUMBERED = struct.Struct(">IQ")

# The padding aligns the records, so that none is in two sectors of the disk.
HEADER_SIZE = -(-(_HEADER.size + _CRC.size) // _RECORD.size) * _RECORD.size
"""In bytes."""
RECORD_SIZE = _RECORD.size
"""In bytes."""


class Header(NamedTuple):
    """The download that a journal belongs to, and when the journal began."""

    identity: bytes
    """32 bytes that name the download."""
    size: int
    """Of the share, in bytes."""
    chunk_size: int
    """In bytes."""
    boot_id: bytes
    """16 bytes: the boot id of the machine when the journal began."""
    salt: bytes
    """8 random bytes, so that no record of an older journal is valid in this one."""

    def encode(self) -> bytes:
        """Return the first `HEADER_SIZE` bytes of a journal."""
        head = _HEADER.pack(_MAGIC, VERSION, *self)
        return (head + _CRC.pack(crc32(head))).ljust(HEADER_SIZE, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> "Header | None":
        """Decode a header; None if it is invalid or of another version."""
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
        """Return the start value of the checksum of every record."""
        return crc32(_HEADER.pack(_MAGIC, VERSION, *self))


class JournalContents(NamedTuple):
    """A decoded journal."""

    header: Header
    indexes: Sequence[int]
    """The recorded chunks, in the order of writing."""
    committed: int
    """How many of these, from the first on, a commit mark covers."""
    records: int
    """How many valid records it has, including marks."""

    def trusted(self, boot_id: bytes) -> Sequence[int]:
        """Return the chunks that count if the machine's boot id is now `boot_id`."""
        if boot_id == self.header.boot_id != UNKNOWN_BOOT:
            return self.indexes
        return self.indexes[: self.committed]


def encode_records(values: Sequence[int], number: int, seed: int) -> bytes:
    """Return the records of some values; the first is record number `number`."""
    return b"".join(
        _RECORD.pack(value, crc32(_NUMBERED.pack(value, number + place), seed))
        for place, value in enumerate(values)
    )


def decode(data: bytes) -> JournalContents | None:
    """Decode a journal up to its first invalid record; None without a valid header."""
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
            break  # no record follows it
        elif 0 <= (covered := len(indexes) - (value - MARK)) <= len(indexes):
            committed = max(committed, covered)
        else:
            break
        number += 1
    return JournalContents(header, indexes, committed, number)


class Journal:
    """Append records to an open journal file."""

    def __init__(self, disk: Disk, fd: int, header: Header) -> None:
        self.fd = fd
        """The journal file, which is locked; its creator closes it."""
        self.chunks = 0
        """How many chunks have been recorded."""
        self._disk = disk
        self._seed = header.seed
        self._records = 0
        self._appending = threading.Lock()

    @classmethod
    def begin(
        cls, disk: Disk, fd: int, header: Header, indexes: Sequence[int]
    ) -> "Journal":
        """Write a journal of `indexes`, all committed, to an empty file, and flush it.

        The chunks themselves must have been flushed before.
        """
        journal = cls(disk, fd, header)
        disk.pwrite(fd, [header.encode()], 0)
        journal.append(indexes)
        journal.mark(len(indexes))
        disk.fdatasync(fd)
        return journal

    @classmethod
    def reopen(cls, disk: Disk, fd: int, contents: JournalContents) -> "Journal":
        """Return a journal that appends to an existing file with these contents."""
        journal = cls(disk, fd, contents.header)
        journal._records = contents.records
        journal.chunks = len(contents.indexes)
        return journal

    def append(self, indexes: Sequence[int]) -> None:
        """Record, in one write, that these chunks are in the data files."""
        with self._appending:
            self._append(indexes)
            self.chunks += len(indexes)

    def mark(self, covered: int) -> None:
        """Record that the first `covered` chunks were flushed.

        `covered` is the value of `chunks` before the flush of the data files. The mark
        takes effect once the journal is flushed as well.
        """
        with self._appending:
            self._append([MARK + self.chunks - covered])

    def void(self) -> None:
        """Record that chunks since the last commit do not count, after a failed flush.

        If the disk cannot write that record either, empty the journal, so that no
        chunk counts.
        """
        with self._appending, suppress(StoreError):
            try:
                self._append([VOID])
            except StoreError:
                self._disk.truncate(self.fd, 0)

    def _append(self, values: Sequence[int]) -> None:
        data = encode_records(values, self._records, self._seed)
        offset = HEADER_SIZE + self._records * RECORD_SIZE
        # A record that was written in part is overwritten by the next write.
        self._disk.pwrite(self.fd, [data], offset)
        self._records += len(values)
