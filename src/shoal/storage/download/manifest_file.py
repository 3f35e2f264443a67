"""The part of a manifest that a download knows, kept in its staging folder.

The root record and each page are appended when they arrive, each page after the one
above it, so that an unfinished
download can continue from an origin or from other unfinished copies, when no peer that
has the whole manifest is left. Nothing in the file is believed: the id proves the root
record, and the root record proves each page. So an incomplete end and changed bytes are
harmless: reading stops at the first record that is not valid, and writing continues
there. Files of other versions count as empty. A record is

    u8  kind     0 for the root record, 1 for a page of the hashes, 2 of the files
    u8  level    of a page, otherwise 0
    u32 index    of a page, otherwise 0
    u32 length   of the data, in bytes
    data
"""

import struct
from pathlib import Path

from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import FILES, HASHES, PAGE_SIZE, PageKey, Table
from shoal.core.manifest.root import MAX_ROOT_SIZE
from shoal.errors import ManifestError, PeerError, ShoalError
from shoal.storage.disk.disk import Disk

__all__ = ["MANIFEST", "ManifestFile", "add_known", "read_manifest"]

MANIFEST = "manifest"
"""The name of the file in a staging folder."""

_MAGIC = b"shoalmf\x02"
_RECORD = struct.Struct(">BBII")
_TABLES: tuple[Table, ...] = HASHES, FILES  # by kind, of which 0 is the root record


class ManifestFile:
    """Append what is known of one manifest to a file in an open folder."""

    def __init__(self, disk: Disk, at: int, share_id: bytes) -> None:
        """Use the file in the open folder `at`, which the caller closes."""
        self.manifest: Manifest | None = None
        """What the file contained when it was opened; None for nothing."""
        self._disk = disk
        self._is_root_written = False
        self._written: set[PageKey] = set()
        self._is_flushed = True
        self._fd: int | None = disk.open_write(MANIFEST, at=at)
        try:
            self.manifest, self._end = _read(disk, self._fd, share_id)
        except BaseException:
            self.close()
            raise
        if self.manifest is not None:
            self._is_root_written = True
            self._written = set(self.manifest.keys())

    def save(self, manifest: Manifest) -> None:
        """Append the root record and the pages that are not in the file."""
        new = [key for key in manifest.keys() if key not in self._written]
        parts: list[bytes] = []
        if not self._is_root_written:
            self._end = 0
            root = manifest.root_record
            parts += [_MAGIC, _RECORD.pack(0, 0, 0, len(root)), root]
        for key in new:
            page = manifest.page(key)
            assert page is not None
            kind = 1 + _TABLES.index(key.table)
            parts += [_RECORD.pack(kind, key.level, key.number, len(page)), page]
        if parts and self._fd is not None:
            self._disk.pwrite(self._fd, parts, self._end)
            self._end += sum(map(len, parts))
            self._is_root_written = True
            self._written.update(new)
            self._is_flushed = False

    def sync(self) -> None:
        """Flush what was saved, so that it survives a power loss."""
        if self._fd is not None and not self._is_flushed:
            self._disk.fdatasync(self._fd)
            self._is_flushed = True

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None


def add_known(known: Manifest | None, other: Manifest | None) -> Manifest | None:
    """Add the pages of another manifest of the same share to one; return it."""
    if known is None or other is None:
        return known or other
    for key in other.keys():
        known.add_page(key, other.page(key) or b"")
    return known


def read_manifest(folder: Path, share_id: bytes, disk: Disk) -> Manifest | None:
    """Return what the file in a staging folder has of a manifest; None for nothing.

    The folder need not be locked: a record that is being appended is ignored.
    """
    try:
        fd = disk.open_read(folder / MANIFEST)
        try:
            return _read(disk, fd, share_id)[0]
        finally:
            disk.close(fd)
    except ShoalError:
        return None


def _read(disk: Disk, fd: int, share_id: bytes) -> tuple[Manifest | None, int]:
    """Return what valid records of an open file describe, and where they end."""
    size = disk.state(fd).size
    if disk.pread(fd, len(_MAGIC), 0) != _MAGIC:
        return None, 0
    manifest: Manifest | None = None
    end = len(_MAGIC)
    while end + _RECORD.size <= size:
        # One record at a time, however long the file is.
        record = disk.pread(fd, _RECORD.size + max(PAGE_SIZE, MAX_ROOT_SIZE), end)
        kind, level, index, length = _RECORD.unpack_from(record)
        part = record[_RECORD.size : _RECORD.size + length]
        if len(part) != length or kind > len(_TABLES):
            break
        try:
            if manifest is None:
                if (kind, level, index) != (0, 0, 0):
                    break
                manifest = Manifest(share_id, part)
            elif not kind:
                break
            elif not manifest.add_page(PageKey(_TABLES[kind - 1], level, index), part):
                break
        except (ManifestError, PeerError):
            break
        end += _RECORD.size + length
    return (manifest, end) if manifest is not None else (None, 0)
