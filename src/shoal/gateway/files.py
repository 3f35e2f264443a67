"""Serve the files and folders of shares: `/TOKEN/files/N/PATH`.

A request waits until the share's manifest is known. The path and range are checked
against the manifest, so HEAD requests and responses with status 304 or 416 fetch
nothing. Bytes are sent as they are verified, and the status together with the first of
them: without any, the status is 504, or 502, and the body gives the reason. A failure
after that closes the connection, so a client may get fewer bytes than announced but
never wrong ones.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from email.utils import formatdate
from html import escape
from itertools import chain
from typing import TYPE_CHECKING

from aiohttp import web
from msgspec import Struct

from shoal.core.manifest.file_table import File
from shoal.core.manifest.listing import children
from shoal.core.manifest.manifest import Manifest
from shoal.errors import NotFoundError, ShoalError
from shoal.gateway.mediatypes import disposition, media_type
from shoal.gateway.range import ByteRange, Preconditions, ResponsePlan, plan_response
from shoal.gateway.request import names_of, parse_target, quoted, refusal
from shoal.gateway.shares import RETRY, ServedShare

if TYPE_CHECKING:
    from shoal.reading.file import AsyncFile

__all__ = ["STALL_TIME", "FileRoutes", "FolderEntry", "folder_page", "send"]

MAX_STREAMS = 32  # files sent at the same time; each holds a chunk in memory
WAIT_TIME = 60.0  # seconds that a request waits for one of them to end, at most
BLOCK_SIZE = 256 * 1024  # bytes per write to a socket
STALL_TIME = 600.0  # seconds a client may read nothing, as a paused player does
LINES = 500  # lines of a folder's page per write
_NOTHING = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILE_CSP = f"sandbox; {_NOTHING}"
"""The policy of a shared file: when opened by itself, it may do nothing."""
PLAYED_CSP = (
    f"sandbox allow-same-origin; {_NOTHING}; "
    "img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
)
"""The policy of a film: the browser makes a page around it that requests it again."""
FOLDER_CSP = f"{_NOTHING}; style-src 'unsafe-inline'"
"""The policy of a folder's page: it may only have a style."""


class FileRoutes:
    """Handle the requests for files and folders of shares."""

    def __init__(
        self,
        shares: Mapping[str, ServedShare],
        on_problem: Callable[[str], None],
    ) -> None:
        """Serve `shares`, by their numbers as they are written in a path.

        `on_problem` is called with a sentence when a file could not be sent.
        """
        self._shares = shares
        self._on_problem = on_problem
        self._places = asyncio.Semaphore(MAX_STREAMS)  # first come, first served

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Respond with a file, or with a page that lists a folder."""
        _, number, *names = names_of(request)
        share = self._shares.get(number)
        if share is None:
            return refusal(404, "No share has this number.")
        path = "/".join(names)
        if not names:
            return _add_slash(request)
        is_folder = not path or path.endswith("/")
        try:
            if is_folder:
                await share.know()
            manifest = await share.load(path)
            file = None if is_folder else _find(manifest, path)
            if file is None and not is_folder:
                manifest = await share.load(path + "/")
        except ShoalError as error:
            return _failure(error)
        if file is not None:
            return await self._answer_file(request, share, file)
        if next(children(manifest, path.rstrip("/")), None) is None:
            return refusal(404, "The share has no file or folder of this name.")
        if not is_folder:
            return _add_slash(request)
        return await _list_folder(request, share, manifest, path.rstrip("/"))

    async def _answer_file(
        self, request: web.Request, share: ServedShare, file: File
    ) -> web.StreamResponse:
        tag = share.tag(file.path)
        conditions = _preconditions(request)
        plan = plan_response(request.method, conditions, file.size, tag, share.seen)
        has_body = request.method == "GET" and plan.range.length > 0
        response = _make_response(file, tag, share.seen, plan)
        if not has_body:
            await response.prepare(request)
            return response
        try:
            async with asyncio.timeout(WAIT_TIME):
                await self._places.acquire()
        except TimeoutError:
            refused = refusal(503, "Too many files are being read; close some first.")
            refused.headers["Retry-After"] = "1"
            return refused
        try:
            async with share.open(file.path) as opened:
                await send(request, response, opened, plan.range)
        except ShoalError as error:
            self._on_problem(f"{file.path} was not sent: {error}")
            if not response.prepared:
                return _failure(error)
        finally:
            self._places.release()
        return response


def _failure(error: ShoalError) -> web.Response:
    """Return the response to a request for what the share's peers do not send."""
    if not isinstance(error, NotFoundError):
        return refusal(502, str(error))
    refused = refusal(504, str(error))
    refused.headers["Retry-After"] = f"{RETRY:.0f}"
    return refused


def _find(manifest: Manifest, path: str) -> File | None:
    """Return the file at a path, or None."""
    try:
        return manifest.find(path)
    except NotFoundError:
        return None


def _add_slash(request: web.Request) -> web.Response:
    """Redirect a folder's URL that lacks the final slash."""
    where = "/".join(("", *parse_target(request.raw_path).names, ""))
    return web.Response(status=301, headers={"Location": quoted(where)})


def _preconditions(request: web.Request) -> Preconditions:
    lines = request.headers.getall
    since, until = request.if_modified_since, request.if_unmodified_since
    return Preconditions(
        if_match=lines("If-Match", []),
        if_none_match=lines("If-None-Match", []),
        if_range=lines("If-Range", []),
        range=lines("Range", []),
        if_modified_since=None if since is None else since.timestamp(),
        if_unmodified_since=None if until is None else until.timestamp(),
    )


def _make_response(
    file: File, tag: str, date: int, plan: ResponsePlan
) -> web.StreamResponse:
    """Return the response for a file, with all headers and without its body."""
    response = web.StreamResponse(status=plan.status)
    headers = response.headers
    headers["ETag"] = tag
    headers["Last-Modified"] = formatdate(date, usegmt=True)
    headers["Accept-Ranges"] = "bytes"
    headers["Cache-Control"] = "private, no-cache"
    kind = media_type(file.path)
    headers["Content-Security-Policy"] = PLAYED_CSP if kind.is_played else FILE_CSP
    sent = plan.range
    if plan.status in (200, 206):
        headers["Content-Type"] = kind.name
        headers["Content-Disposition"] = disposition(file.path)
    if plan.status == 206:
        headers["Content-Range"] = f"bytes {sent.first}-{sent.end - 1}/{file.size}"
    elif plan.status == 416:
        headers["Content-Range"] = f"bytes */{file.size}"
    if plan.status != 304:
        response.content_length = sent.length
    return response


# The bytes of a file.


async def send(
    request: web.Request,
    response: web.StreamResponse,
    file: "AsyncFile",
    wanted: ByteRange,
    stall_time: float = STALL_TIME,
) -> None:
    """Send some bytes of a file, at least one; with the first, the response's headers.

    A client that reads nothing for `stall_time` seconds is disconnected. When a client
    disconnects, aiohttp cancels this, which also cancels the fetching. Raises
    `ShoalError` if the bytes cannot be fetched, after closing the connection if
    anything has been sent.
    """
    try:
        async with aclosing(_blocks(file, wanted)) as blocks:
            async for block in blocks:
                async with asyncio.timeout(stall_time):
                    if not response.prepared:
                        await response.prepare(request)
                    await response.write(block)
    except (ShoalError, TimeoutError) as error:
        if response.prepared and request.transport is not None:
            request.transport.abort()
        if isinstance(error, ShoalError):
            raise


async def _blocks(
    file: "AsyncFile", wanted: ByteRange
) -> AsyncGenerator[memoryview, None]:
    """Yield the bytes of a range as they arrive, without copying them."""
    # A client that may stop anywhere gets no more prefetched than it has read.
    until = None if wanted.is_open_ended else wanted.end
    position = wanted.first
    while position < wanted.end:
        piece = await file.reader.piece(position, wanted.end, until)
        for start in range(0, len(piece), BLOCK_SIZE):
            yield piece[start : start + BLOCK_SIZE]
        position += len(piece)


# Folders.


class FolderEntry(Struct, frozen=True):
    """Describe one line of a folder's page."""

    name: str
    """The name to show."""
    href: str
    """The relative URL to link to, quoted."""
    size: int | None
    """Bytes; None for a folder."""


async def _list_folder(
    request: web.Request, share: ServedShare, manifest: Manifest, folder: str
) -> web.StreamResponse:
    """Respond with a page that lists a folder, which exists."""
    path = "/".join(("", *parse_target(request.raw_path).names))
    heading = f"{manifest.root.name}/{folder}" if folder else manifest.root.name
    # Programs follow every link, so none leads out of the share.
    parent = [FolderEntry("../", "../", None)] if folder else []
    entries = chain(parent, _children(manifest, folder))
    lines = folder_page(f"Index of {path}", heading, entries, share.seen)
    return await _send_lines(request, lines, share.seen)


def _children(manifest: Manifest, folder: str) -> Iterator[FolderEntry]:
    """Yield the direct children of a folder, in the order of their paths."""
    for name, file in children(manifest, folder):
        if file is None:
            yield FolderEntry(name + "/", f"{quoted(name)}/", None)
        else:
            yield FolderEntry(name, quoted(name), file.size)


_STYLE = (
    ":root{color-scheme:light dark;font:1rem/1.6 system-ui,sans-serif}"
    "body{margin:1rem auto;max-width:50rem;padding:0 1rem}"
    "td{padding:.1rem 1rem .1rem 0;overflow-wrap:anywhere}"
    "td+td{text-align:right;white-space:nowrap}"
)


def folder_page(
    title: str, heading: str, entries: Iterable[FolderEntry], date: int
) -> Iterator[str]:
    """Yield the HTML page of a folder, line by line; all names are escaped.

    `date`, in seconds since 1970, is shown for each entry, because programs expect one.
    The title, the plain links, and dates and sizes in the form of Apache's and nginx's
    listings are what programs recognize: GDAL, lftp, rclone, fsspec.
    """
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1><bdi>{escape(heading)}</bdi></h1>\n"
    )
    yield "<table>\n"
    # "Tue, 01 Dec 2026 02:46:20 GMT" becomes "01-Dec-2026 02:46".
    _, day, month, year, clock, _ = formatdate(date, usegmt=True).split()
    shown = f"{day}-{month}-{year} {clock[:5]}"
    for entry in entries:
        href, name = escape(entry.href), escape(entry.name)
        size = "-" if entry.size is None else str(entry.size)
        yield f'<tr><td><a href="{href}"><bdi>{name}</bdi></a><td>{shown}<td>{size}\n'
    yield "</table>\n"


async def _send_lines(
    request: web.Request, lines: Iterator[str], date: int
) -> web.StreamResponse:
    """Send a page while it is made, as a folder may have very many files."""
    response = web.StreamResponse()
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    response.headers["Content-Security-Policy"] = FOLDER_CSP
    response.headers["Last-Modified"] = formatdate(date, usegmt=True)
    await response.prepare(request)
    if request.method == "GET":
        block: list[str] = []
        for line in lines:
            block.append(line)
            if len(block) >= LINES:
                await response.write("".join(block).encode())
                block.clear()
                await asyncio.sleep(0)
        await response.write("".join(block).encode())
    return response
