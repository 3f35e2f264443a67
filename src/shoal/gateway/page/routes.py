"""What the gateway answers for its page: the page itself, its events, its icon."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from shoal.core.manifest.manifest import Manifest
from shoal.core.report.units import format_size
from shoal.gateway.page.events import Events
from shoal.gateway.page.html import ICON, Content, csp, render
from shoal.gateway.page.watch import Shown, Watch

if TYPE_CHECKING:
    from shoal.gateway.server import Gateway

__all__ = ["add_page"]


def add_page(gateway: "Gateway") -> None:
    """Answer `/TOKEN/` with a page on all shares, which keeps itself up to date."""
    page = _Page(gateway)
    gateway.route("/", page.answer)
    gateway.route("/events", page.events.answer)
    gateway.route("/icon.svg", page.answer_icon)


class _Page:
    """Answer for the page."""

    def __init__(self, gateway: "Gateway") -> None:
        self._shares = gateway.shares
        clock = asyncio.get_running_loop().time
        self._watch = Watch(gateway.shares, gateway.node.status, clock)
        self.events = Events(self._watch.look, gateway.closing)
        self._contents: dict[int, Content] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        contents = map(self._content, self._shares)
        text = render(list(zip(self._watch.look(), contents, strict=True)))
        return _response(text, "text/html", {"Content-Security-Policy": csp()})

    async def answer_icon(self, request: web.Request) -> web.StreamResponse:
        return _response(ICON, "image/svg+xml", {"Cache-Control": "max-age=86400"})

    def _content(self, share: Shown) -> Content:
        """Return what is in a share; made once it is known."""
        made = self._contents.get(share.number)
        if made is None:
            made = _describe(share)
            if share.manifest is not None:
                self._contents[share.number] = made
        return made


def _response(text: str, kind: str, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        body=text.encode(), content_type=kind, charset="utf-8", headers=headers
    )


def _describe(share: Shown) -> Content:
    link, manifest = str(share.link), share.manifest
    if manifest is None:
        name, about = f"Share {share.number + 1}", "waiting for somebody who has it"
        return Content(name, about, False, (), link, _draw_qr(link))
    root = manifest.root
    return Content(
        root.name,
        _about(manifest),
        root.is_folder,
        manifest.files,
        link,
        _draw_qr(link),
    )


def _about(manifest: Manifest) -> str:
    size, count = format_size(manifest.root.size), manifest.chunks.count
    number = len(manifest.files)
    files = f"{number:,} file{'' if number == 1 else 's'}, " if number != 1 else ""
    each = format_size(manifest.chunks.chunk_size)
    return f"{files}{size} in {count:,} chunk{'' if count == 1 else 's'} of {each}"


def _draw_qr(text: str) -> str | None:
    """Return a QR code as SVG; None without the package that draws it."""
    try:
        import segno
    except ImportError:
        return None
    drawn: str = segno.make(text, error="m").svg_inline(
        border=3,
        dark="#000",
        light="#fff",
        omitsize=True,
        svgclass=None,
        lineclass=None,
        title="QR code of the link",
    )
    return drawn.replace("<svg", '<svg role="img"', 1)
