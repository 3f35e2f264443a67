"""Send all files of a share or folder as one ZIP archive: `/TOKEN/zip/N/FOLDER/`.

The archive is made while it is sent. Its files are stored without compression, so its
length is known before the first byte is: that of the files, and of what the ZIP format
adds for each (APPNOTE.TXT sections 4.3.7 to 4.3.16). The checksum of a file follows its
bytes, so an archive cannot be sent from the middle and ranges are not offered.
"""

import io
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import gmtime
from typing import TYPE_CHECKING
from zipfile import ZIP64_LIMIT, ZipFile, ZipInfo

from aiohttp import web

from shoal.core.manifest.file_table import File, folder_range
from shoal.core.manifest.listing import list_files
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.errors import ShoalError
from shoal.gateway.mediatypes import disposition
from shoal.gateway.range import ByteRange
from shoal.gateway.request import names_of, refusal
from shoal.gateway.sending import BLOCK_SIZE, Sender, failure, read_blocks
from shoal.gateway.shares import ServedShare

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from shoal.reading.file import AsyncFile

__all__ = [
    "MAX_ARCHIVED",
    "ArchiveRoutes",
    "Contents",
    "archive_blocks",
    "archive_size",
]

MAX_ARCHIVED = 50_000  # files in an archive; each takes about 1 KiB until its end
_FILE_HEADER, _ENTRY, _END = 30, 46, 22  # bytes, without names (4.3.7, 4.3.12, 4.3.16)
_DESCRIPTOR, _LARGE_DESCRIPTOR = 16, 24  # bytes after a file's data (4.3.9)
_HEADER_EXTRA = 20  # bytes for the 64-bit sizes in a large file's header (4.5.3)
_LARGE_END = 56 + 20  # bytes of the 64-bit end and its locator (4.3.14, 4.3.15)
_MANY = 0xFFFF  # entries beyond which the 64-bit end is needed
_FIRST_DATE = 315_532_800  # 1980, the format's first year, in seconds since 1970
_TOO_MANY = f"It has more than {MAX_ARCHIVED:,} files; download it with `shoal get`."

Opener = Callable[[str], AbstractAsyncContextManager["AsyncFile"]]


class ArchiveRoutes:
    """Handle the requests for archives."""

    def __init__(self, shares: Mapping[str, ServedShare], sender: Sender) -> None:
        """Serve `shares`, by their numbers as they are written in a path."""
        self._shares = shares
        self._sender = sender

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Respond with an archive of a share, or of a folder in it."""
        _, number, *names = names_of(request)
        share = self._shares.get(number)
        if share is None:
            return refusal(404, "No share has this number.")
        folder = "/".join(names).rstrip("/")
        try:
            manifest = await share.load_pages(partial(_missing_ends, folder))
            count = _count(manifest, folder)
            if not count:
                return refusal(404, "The share has no folder of this name.")
            if count > MAX_ARCHIVED:
                return refusal(403, _TOO_MANY)
            manifest = await share.load_pages(lambda m: m.missing_under(folder))
        except ShoalError as error:
            return failure(error)
        contents = Contents(manifest, folder)
        response = web.StreamResponse()
        response.content_length = archive_size(contents)
        response.headers["Content-Type"] = "application/zip"
        response.headers["Content-Disposition"] = disposition(f"{contents.name}.zip")
        response.headers["Cache-Control"] = "private, no-cache"
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        blocks = archive_blocks(contents, share.seen, share.open)
        return await self._sender.send(request, response, blocks, contents.name)


def _missing_ends(folder: str, manifest: Manifest) -> Iterator[PageKey]:
    """Yield the pages to request before the files below a folder can be counted."""
    if folder and manifest.file_table is not None:
        for path in folder_range(folder):
            yield from manifest.missing_path(path)


def _count(manifest: Manifest, folder: str) -> int:
    """Return how many files are below a folder; 0 if there is no such folder."""
    if not folder:
        return manifest.root.file_count
    table = manifest.file_table
    return 0 if table is None else len(table.under(folder))


class Contents:
    """The files of an archive, and their names in it; it unpacks to one folder."""

    def __init__(self, manifest: Manifest, folder: str) -> None:
        """Take the files below a folder, or with an empty one, all of a share."""
        self.name = folder.rpartition("/")[2] or manifest.root.name
        """The name of the folder or share."""
        self.files = list_files(manifest, folder)
        """The files; their pages have arrived."""
        self._skipped = len(folder) + 1 if folder else 0
        self._prefix = f"{self.name}/" if manifest.root.is_folder else ""

    def name_of(self, file: File) -> str:
        """Return the name of a file in the archive."""
        return self._prefix + file.path[self._skipped :]


def archive_size(contents: Contents) -> int:
    """Return the bytes of the archive that `archive_blocks` yields."""
    offset = directory = 0
    for file in contents.files:
        name = len(contents.name_of(file).encode())
        is_large = _is_large(file)
        # The directory has 64-bit fields only for what does not fit 32 bits.
        large = 2 * (file.size > ZIP64_LIMIT) + (offset > ZIP64_LIMIT)
        directory += _ENTRY + name + (4 + 8 * large if large else 0)
        offset += _FILE_HEADER + name + (_HEADER_EXTRA if is_large else 0) + file.size
        offset += _LARGE_DESCRIPTOR if is_large else _DESCRIPTOR
    is_long = len(contents.files) > _MANY or max(offset, directory) > ZIP64_LIMIT
    return offset + directory + _END + (_LARGE_END if is_long else 0)


async def archive_blocks(
    contents: Contents, date: int, open_file: Opener
) -> AsyncGenerator[bytes, None]:
    """Yield a ZIP archive, in blocks that depend on how the files arrive.

    `date` is that of all files, in seconds since 1970. Raises what `open_file` and
    reading raise. The first block has bytes of a file, unless many empty ones precede.
    """
    made = _Pipe()
    day = gmtime(max(date, _FIRST_DATE))[:6]
    with ZipFile(made, "w") as archive:
        for file in contents.files:
            info = ZipInfo(contents.name_of(file), day)
            info.external_attr = (0o100755 if file.executable else 0o100644) << 16
            info.create_system = 3  # Unix, for the mode
            with archive.open(info, "w", force_zip64=_is_large(file)) as entry:
                if file.size:
                    async with open_file(file.path) as opened:
                        whole = ByteRange(0, file.size)
                        async for block in read_blocks(opened, whole):
                            entry.write(block)
                            yield made.take()
            if made.size >= BLOCK_SIZE:  # after very many empty files
                yield made.take()
    yield made.take()


def _is_large(file: File) -> bool:
    return file.size > ZIP64_LIMIT


class _Pipe(io.RawIOBase):
    """Collect what `zipfile` writes until it is taken; it cannot be rewound."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0
        """Bytes that can be taken."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Keep a copy of `data`; return its size."""
        self._parts.append(bytes(data))
        self.size += len(self._parts[-1])
        return len(self._parts[-1])

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return taken
