"""Send all files of a share or folder as one ZIP archive: `/TOKEN/zip/N/FOLDER/`.

The archive is made while it is sent. Its files are stored without compression, so its
length is known before the first byte is: that of the files, and of what the ZIP format
adds for each (APPNOTE.TXT sections 4.3.7 to 4.3.16). The checksum of a file follows its
bytes, so an archive cannot be sent from the middle and ranges are not offered.

The maker of a link chooses how many files there are and how long their names are, and
the end of an archive names all of them again. So the memory of all archives that are
sent at a time is limited, and what takes time for each file is done in a thread or in
pieces.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from time import gmtime
from typing import TYPE_CHECKING
from zipfile import ZIP64_LIMIT, ZipFile, ZipInfo

from aiohttp import web

from shoal.core.manifest.collisions import problem_of_all
from shoal.core.manifest.file_tree import File, folder_range
from shoal.core.manifest.listing import list_files
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.errors import ShoalError, bad_link
from shoal.gateway.guard import refusal
from shoal.gateway.mediatypes import disposition, visible_name
from shoal.gateway.range import ByteRange
from shoal.gateway.request import names_of
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

MAX_ARCHIVED = 50_000  # files in an archive
MAX_MEMORY = 96 << 20  # bytes of memory for all archives that are sent at a time
FILE_MEMORY = 1024  # bytes that each file of an archive needs until its end
NAME_COPIES = 3  # of each name: for the entry, its encoded form, and the block with it
MAX_PAGES_SIZE = 48 << 20  # bytes of a file table whose pages are loaded for an archive
PIECE = 64  # files after which other tasks have a turn, if all are empty
_FILE_HEADER, _ENTRY, _END = 30, 46, 22  # bytes, without names (4.3.7, 4.3.12, 4.3.16)
_DESCRIPTOR, _LARGE_DESCRIPTOR = 16, 24  # bytes after a file's data (4.3.9)
_HEADER_EXTRA = 20  # bytes for the 64-bit sizes in a large file's header (4.5.3)
_LARGE_END = 56 + 20  # bytes of the 64-bit end and its locator (4.3.14, 4.3.15)
_MANY = 0xFFFF  # entries beyond which the 64-bit end is needed
_FIRST_DATE = 315_532_800  # 1980, the format's first year, in seconds since 1970
_TOO_MANY = f"It has more than {MAX_ARCHIVED:,} files; download it with `shoal get`."
_TOO_LONG = "The names in it are too long together; download it with `shoal get`."
_BUSY = "Other archives of many files are being sent; wait until one is complete."

Opener = Callable[[str], AbstractAsyncContextManager["AsyncFile"]]


class ArchiveRoutes:
    """Handle the requests for archives."""

    def __init__(self, shares: Mapping[str, ServedShare], sender: Sender) -> None:
        """Serve `shares`, by their numbers as they are written in a path."""
        self._shares = shares
        self._sender = sender
        self._memory = 0  # bytes for the archives that are being sent

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
            manifest = await share.load_pages(partial(_missing_files, folder))
            if any(True for _ in manifest.missing_under(folder)):
                return refusal(403, _TOO_LONG)
            contents = await asyncio.to_thread(Contents, manifest, folder)
        except ShoalError as error:
            return failure(error)
        if contents.memory > MAX_MEMORY:
            return refusal(403, _TOO_LONG)
        with self._reserved(contents.memory) as is_reserved:
            if not is_reserved:
                refused = refusal(503, _BUSY)
                refused.headers["Retry-After"] = "5"
                return refused
            return await self._send(request, share, contents)

    @contextmanager
    def _reserved(self, memory: int) -> Iterator[bool]:
        """Count memory as used until the end of the block; yield False without room."""
        if self._memory + memory > MAX_MEMORY:
            yield False
            return
        self._memory += memory
        try:
            yield True
        finally:
            self._memory -= memory

    async def _send(
        self, request: web.Request, share: ServedShare, contents: "Contents"
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = contents.archive_size
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


def _missing_files(folder: str, manifest: Manifest) -> Iterator[PageKey]:
    """Yield the pages to request for the files below a folder, unless they are many."""
    table = manifest.file_table
    if table is None or table.size_here <= MAX_PAGES_SIZE:
        yield from manifest.missing_under(folder)


def _count(manifest: Manifest, folder: str) -> int:
    """Return how many files are below a folder; 0 if there is no such folder."""
    if not folder:
        return manifest.root.file_count
    table = manifest.file_table
    return 0 if table is None else len(table.under(folder))


class Contents:
    """The files of an archive, and their names in it; it unpacks to one folder."""

    def __init__(self, manifest: Manifest, folder: str) -> None:
        """Take the files below a folder, or with an empty one, all of a share.

        Their pages must have arrived. Takes time for each file. Raises `ManifestError`
        if some system could not unpack all of them.
        """
        self.name = visible_name(folder.rpartition("/")[2] or manifest.root.name)
        """The name of the folder or share; no name that hides what has it."""
        self.files = list_files(manifest, folder)
        """The files."""
        if folder:  # `list_files` checks those of a whole share
            problem = problem_of_all(lambda: iter([[f.path for f in self.files]]))
            if problem is not None:
                raise bad_link(problem)
        self._skipped = len(folder) + 1 if folder else 0
        self._prefix = f"{self.name}/" if manifest.root.is_folder else ""
        names = sum(len(self.name_of(file).encode()) for file in self.files)
        self.memory = FILE_MEMORY * len(self.files) + NAME_COPIES * names
        """Bytes of memory that the archive takes, about."""
        self.archive_size = archive_size(self)
        """Bytes of the archive."""

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
        try:
            for place, file in enumerate(contents.files):
                if not place % PIECE:
                    await asyncio.sleep(0)
                info = ZipInfo(contents.name_of(file), day)
                info.external_attr = (0o100755 if file.executable else 0o100644) << 16
                info.create_system = 3  # Unix, for the mode
                with archive.open(info, "w", force_zip64=_is_large(file)) as entry:
                    async for block in _read(file, open_file):
                        entry.write(block)
                        yield made.take()
                if made.size >= BLOCK_SIZE:  # after very many empty files
                    yield made.take()
            # In a thread, since it makes an entry for each file once more.
            await asyncio.to_thread(archive.close)
        except BaseException:
            archive.filelist.clear()  # an archive that is not sent needs no end
            raise
    yield made.take()


async def _read(file: File, open_file: Opener) -> AsyncGenerator[memoryview, None]:
    """Yield the bytes of a file, which is not opened if it has none."""
    if file.size:
        async with open_file(file.path) as opened:
            async for block in read_blocks(opened, ByteRange(0, file.size)):
                yield block


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
