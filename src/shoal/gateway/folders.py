"""Show a folder of a share as a page of links, which people and programs can read."""

import asyncio
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from html import escape
from itertools import chain, islice

from aiohttp import web
from msgspec import Struct

from shoal.core.manifest.listing import children, in_natural_order
from shoal.core.manifest.manifest import Manifest
from shoal.gateway.request import parse_target, quoted
from shoal.gateway.shares import FEW_FILES, ServedShare

__all__ = ["FolderEntry", "folder_page", "list_folder"]

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


async def list_folder(
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
