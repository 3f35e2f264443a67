"""Serve the files and folders of shares: `/TOKEN/files/N/PATH`.

A request waits until the share's manifest is known. The path and range are checked
against the manifest, so HEAD requests and responses with status 304 or 416 fetch
nothing. A folder is a page of links, which people and programs can read.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from email.utils import formatdate
from html import escape
from itertools import chain, islice

from aiohttp import web
from msgspec import Struct

from shoal.core.manifest.file_tree import File
from shoal.core.manifest.listing import children, in_natural_order
from shoal.core.manifest.manifest import Manifest
from shoal.errors import NotFoundError, ShoalError
from shoal.gateway.guard import refusal
from shoal.gateway.mediatypes import disposition, media_type
from shoal.gateway.range import ByteRange, Preconditions, ResponsePlan, plan_response
from shoal.gateway.request import names_of, parse_target, quoted
from shoal.gateway.sending import Sender, failure, read_blocks
from shoal.gateway.shares import FEW_FILES, ServedShare
from shoal.net.http_date import parse_http_date

__all__ = ["FileRoutes", "FolderEntry", "folder_page"]

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


class FileRoutes:
    """Handle the requests for files and folders of shares."""

    def __init__(
        self,
        shares: Mapping[str, ServedShare],
        sender: Sender,
    ) -> None:
        """Serve `shares`, by their numbers as they are written in a path."""
        self._shares = shares
        self._sender = sender

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
            return failure(error)
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
        return await self._sender.send(
            request, response, _read(share, file, plan.range), file.path
        )


async def _read(
    share: ServedShare, file: File, wanted: ByteRange
) -> AsyncGenerator[memoryview, None]:
    """Yield the bytes of a range of a file."""
    async with share.open(file.path) as opened:
        async for block in read_blocks(opened, wanted):
            yield block


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
    # aiohttp raises an error for dates that are too large.
    since, until = lines("If-Modified-Since", []), lines("If-Unmodified-Since", [])
    return Preconditions(
        if_match=lines("If-Match", []),
        if_none_match=lines("If-None-Match", []),
        if_range=lines("If-Range", []),
        range=lines("Range", []),
        if_modified_since=parse_http_date(since[0]) if since else None,
        if_unmodified_since=parse_http_date(until[0]) if until else None,
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


LINES = 500  # lines of a folder's page per write
FOLDER_CSP = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; style-src 'unsafe-inline'"
)
"""The policy of a folder's page: it may only have a style."""


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
    entries = chain(parent, _entries(manifest, folder))
    lines = folder_page(f"Index of {path}", heading, entries, share.seen)
    return await _send_lines(request, lines, share.seen)


def _entries(manifest: Manifest, folder: str) -> Iterator[FolderEntry]:
    """Yield the direct children of a folder, in natural order unless they are many."""
    rest = children(manifest, folder)
    first = list(islice(rest, FEW_FILES + 1))
    sort = in_natural_order if len(first) <= FEW_FILES else iter
    for name, file in chain(sort(first), rest):
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
