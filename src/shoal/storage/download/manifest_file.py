"""The part of a manifest that a download knows, kept in its staging folder.

The root record and each page are appended when they arrive, so that an unfinished
download can continue from an origin or from other unfinished copies, when no peer that
has the whole manifest is left. Nothing in the file is believed: the id proves the root
record, and the root record proves each page. So an incomplete end and changed bytes are
harmless: reading stops at the first record that is not valid, and writing continues
there. A record is

    u32 number   0 for the root record, 1 + n for page n
    u32 length   of the data, in bytes
    data
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PAGE_SIZE
from shoal.core.manifest.root import MAX_ROOT_SIZE
from shoal.errors import ManifestError, PeerError, ShoalError
from shoal.storage.disk.disk import Disk

__all__ = ["MANIFEST", "ManifestFile", "add_known", "known_pages", "read_manifest"]

MANIFEST = "manifest"
"""The name of the file in a staging folder."""

_MAGIC = b"shoalmf\x01"
_RECORD = struct.Struct(">II")
_MAX_SIZE = 32 * 1024 * 1024  # bytes that are read; the largest manifest has about half


class ManifestFile:
    """Append what is known of one manifest to a file in an open folder."""

    def __init__(self, disk: Disk, at: int, share_id: bytes) -> None:
        """Use the file in the open folder `at`, which the caller closes."""
        self.manifest: Manifest | None = None
        """What the file contained when it was opened; None for nothing."""
        self._disk = disk
        self._is_root_written = False
        self._written: set[int] = set()  # pages
        self._is_flushed = True
        self._fd: int | None = disk.open_write(MANIFEST, at=at)
        try:
            data = disk.pread(self._fd, min(disk.state(self._fd).size, _MAX_SIZE), 0)
            self.manifest, self._end = _decode(data, share_id)
        except BaseException:
            self.close()
            raise
        if self.manifest is not None:
            self._is_root_written = True
            self._written = set(known_pages(self.manifest))

    def save(self, manifest: Manifest) -> None:
        """Append the root record and the pages that are not in the file."""
        new = [n for n in known_pages(manifest) if n not in self._written]
        parts: list[bytes] = []
        if not self._is_root_written:
            self._end = 0
            parts += [_MAGIC, _encode(0, manifest.root_record)]
        for number in new:
            page = manifest.page(number)
            assert page is not None
            parts.append(_encode(1 + number, page))
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
    for number in known_pages(other):
        known.add_page(number, other.page(number) or b"")
    return known


def read_manifest(folder: Path, share_id: bytes, disk: Disk) -> Manifest | None:
    """Return what the file in a staging folder has of a manifest; None for nothing.

    The folder need not be locked: a record that is being appended is ignored.
    """
    try:
        fd = disk.open_read(folder / MANIFEST)
        try:
            data = disk.pread(fd, min(disk.state(fd).size, _MAX_SIZE), 0)
        finally:
            disk.close(fd)
        return _decode(data, share_id)[0]
    except ShoalError:
        return None


def _encode(number: int, data: bytes) -> bytes:
    return _RECORD.pack(number, len(data)) + data


def known_pages(manifest: Manifest) -> Iterator[int]:
    """Yield the numbers of the pages that are known."""
    for number in range(manifest.page_count):
        if manifest.page(number) is not None:
            yield number


def _decode(data: bytes, share_id: bytes) -> tuple[Manifest | None, int]:
    """Return what valid records describe, and where they end."""
    manifest: Manifest | None = None
    end = len(_MAGIC)
    if not data.startswith(_MAGIC):
        return None, 0
    while end + _RECORD.size <= len(data):
        number, length = _RECORD.unpack_from(data, end)
        part = data[end + _RECORD.size : end + _RECORD.size + length]
        if length > max(PAGE_SIZE, MAX_ROOT_SIZE) or len(part) != length:
            break
        if manifest is None:
            try:
                manifest = Manifest(share_id, part) if number == 0 else None
            except (ManifestError, PeerError):
                pass
            if manifest is None:
                return None, 0
        elif not number or not manifest.add_page(number - 1, part):
            break
        end += _RECORD.size + length
    return manifest, end
