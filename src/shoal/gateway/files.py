"""The routes to what is shared: `/TOKEN/files/N/PATH`, and lists of it.

A request for a file waits until its share is known; what it asks for is checked
against the manifest, so nothing is fetched for HEAD, 304 or 416.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aiohttp import web

from shoal.core.manifest.file_table import File
from shoal.core.manifest.manifest import Manifest
from shoal.errors import NotFoundError, ShoalError
from shoal.gateway import listing
from shoal.gateway.guard import names_of, refusal
from shoal.gateway.mediatypes import disposition, media_type
from shoal.gateway.paths import quoted
from shoal.gateway.range import Answer, Conditions, answer
from shoal.gateway.shares import ServedShare
from shoal.gateway.stream import send

if TYPE_CHECKING:
    from shoal.gateway.server import Gateway

__all__ = ["FILE_CSP", "PLAYED_CSP", "add_files"]

MAX_STREAMS = 32  # files that are sent at once; each holds a chunk in memory
LINES = 500  # of a listing, sent at once
_NOTHING = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILE_CSP = f"sandbox; {_NOTHING}"
"""What a shared file may do when it is opened by itself: nothing."""
PLAYED_CSP = (
    f"sandbox allow-same-origin; {_NOTHING}; "
    "img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
)
"""The same for a film: the page that the browser makes for it asks for it once more."""


def add_files(gateway: "Gateway") -> None:
    """Answer `/TOKEN/files/N/PATH` with the files of share N, and its folders."""
    routes = _Files(gateway)
    gateway.route("/files/{number}/{path:.*}", routes.answer)


class _Files:
    """Answer for what is shared."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._stall_time = gateway.stall_time
        self._streams = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer for a file or a folder."""
        _, number, *names = names_of(request)
        share = self._gateway.share(number)
        if share is None:
            return refusal(404, "There is no such share here.")
        try:
            manifest = await share.known()
        except NotFoundError as error:
            return refusal(504, str(error))
        except ShoalError as error:
            return refusal(502, str(error))
        path = "/".join(names)
        try:
            if not path or path.endswith("/"):
                return await _list_folder(request, manifest, path.rstrip("/"))
            file = _find(manifest, path)
            if file is None:
                where = f"./{quoted(names[-1])}/"
                return web.Response(status=301, headers={"Location": where})
        except NotFoundError:
            return refusal(404, "There is nothing of that name in this share.")
        return await self._answer_file(request, share, file)

    async def _answer_file(
        self, request: web.Request, share: ServedShare, file: File
    ) -> web.StreamResponse:
        tag = share.tag(file.path)
        found = answer(request.method, _conditions(request), file.size, tag)
        is_read = request.method == "GET" and found.span.length > 0
        if is_read and self._streams >= MAX_STREAMS:
            refused = refusal(503, "Too much is being read; end some of it first.")
            refused.headers["Retry-After"] = "1"
            return refused
        response = _headed(file, tag, found)
        await response.prepare(request)
        if is_read:
            self._streams += 1
            try:
                async with share.open(file.path) as opened:
                    await send(request, response, opened, found.span, self._stall_time)
            except ShoalError as error:
                self._gateway.on_problem(f"{file.path} was not sent: {error}")
            finally:
                self._streams -= 1
        return response


def _find(manifest: Manifest, path: str) -> File | None:
    """Return a file; None when it is a folder. Raises `NotFoundError`."""
    try:
        return manifest.find(path)
    except NotFoundError:
        if manifest.file_table is None or not manifest.file_table.under(path):
            raise
        return None


def _conditions(request: web.Request) -> Conditions:
    lines = request.headers.getall
    return Conditions(
        if_match=lines("If-Match", []),
        if_none_match=lines("If-None-Match", []),
        if_range=lines("If-Range", []),
        range=lines("Range", []),
    )


def _headed(file: File, tag: str, found: Answer) -> web.StreamResponse:
    """Return the headers of an answer for a file."""
    response = web.StreamResponse(status=found.status)
    headers = response.headers
    headers["ETag"] = tag
    headers["Accept-Ranges"] = "bytes"
    headers["Cache-Control"] = "private, no-cache"
    kind = media_type(file.path)
    headers["Content-Security-Policy"] = PLAYED_CSP if kind.is_played else FILE_CSP
    span = found.span
    if found.status in (200, 206):
        headers["Content-Type"] = kind.name
        headers["Content-Disposition"] = disposition(file.path)
    if found.status == 206:
        headers["Content-Range"] = f"bytes {span.first}-{span.end - 1}/{file.size}"
    elif found.status == 416:
        headers["Content-Range"] = f"bytes */{file.size}"
    if found.status != 304:
        response.content_length = span.length
    return response


# Lists.


async def _list_folder(
    request: web.Request, manifest: Manifest, folder: str
) -> web.StreamResponse:
    """Answer with what is in a folder; raises `NotFoundError`."""
    if folder and not (manifest.file_table and manifest.file_table.under(folder)):
        raise NotFoundError(f"There is no folder {folder} in the share.")
    title = f"{manifest.root.name}/{folder}" if folder else manifest.root.name
    above = [listing.Entry("../", "../" if folder else "../../", None)]
    entries = (*above, *listing.children(manifest, folder))
    return await _send_listing(request, listing.page(title, entries))


async def _send_listing(
    request: web.Request, lines: Iterator[str]
) -> web.StreamResponse:
    """Send a page as it is made: a folder may have many files."""
    response = web.StreamResponse()
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    response.headers["Content-Security-Policy"] = listing.CSP
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
