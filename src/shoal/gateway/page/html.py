"""The gateway's page as HTML, which shows all shares and works without its script.

Every text that comes from a share or a peer is escaped.
"""

import asyncio
import shlex
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

from aiohttp import web
from msgspec import Struct
from msgspec.structs import asdict

from shoal.core.manifest.listing import Child
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.units import format_count, format_size
from shoal.gateway.archive import MAX_ARCHIVED
from shoal.gateway.mediatypes import media_type
from shoal.gateway.page.view import (
    CELL_KINDS,
    COLUMNS,
    STEP,
    PeerRow,
    ShareView,
    draw_cells,
)
from shoal.gateway.request import quoted
from shoal.gateway.shares import ServedShare

__all__ = ["PageRoutes", "ShareDetails", "csp", "render"]

PLAYERS = {"video": "Play", "audio": "Listen", "image": "Preview"}


def _read(name: str) -> str:
    return files("shoal.gateway.page").joinpath(name).read_text("utf-8")


_STYLE, _SCRIPT, _ICON = map(_read, ("page.css", "page.js", "icon.svg"))
_PAGE, _SHARE, _KNOWN = (
    Template(_read(name)) for name in ("page.html", "share.html", "known.html")
)
_LEGEND = "".join(
    f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><path class="s{kind.code}" '
    f'd="M0 0{kind.shape}"/></svg>{kind.label}'
    for kind in CELL_KINDS
)
_NOTHING = (
    '<p class="summary">Nothing is shared or downloaded yet; it appears here when its '
    "list of files is known.</p>"
)
_NO_QR = (
    '<p class="note">After <code>pip install "shoal[qr]"</code> '
    "the page shows a QR code.</p>"
)


class ShareDetails(Struct, frozen=True):
    """Hold what the page shows of a share and what never changes once it is known."""

    name: str
    """The share's name, or a placeholder."""
    about: str
    """Its size, and its number of files and chunks."""
    is_folder: bool
    """True if there is a page that lists its files."""
    children: Sequence[Child]
    """The first files and folders at its top, which the page lists."""
    count: int
    """How many files it has; 0 until that is known."""
    link: str
    """The link that `shoal get` takes."""
    qr: str | None
    """The link as a QR code in SVG; None without the package that draws it."""


class PageRoutes:
    """Handle the requests for the page and its icon."""

    def __init__(
        self,
        shares: Sequence[ServedShare],
        sample: Callable[[], Sequence[ShareView]],
        count_others: Callable[[], int] = lambda: 0,
    ) -> None:
        """Show `shares`; `sample` returns the current view of each.

        `count_others` returns how many shares there are that the page does not show.
        """
        self._count_others = count_others
        self._shares = shares
        self._sample = sample
        self._details: dict[int, ShareDetails] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Respond with the page, once the shares are known or some seconds after start.

        Otherwise the page names no file when its address is opened as soon as printed.
        """
        async with asyncio.TaskGroup() as tasks:
            for share in self._shares:
                tasks.create_task(share.know_at_first())
        details = map(self._details_of, self._shares)
        shown = list(zip(self._sample(), details, strict=True))
        text = render(shown, self._count_others())
        return _response(text, "text/html", {"Content-Security-Policy": csp()})

    async def answer_icon(self, request: web.Request) -> web.StreamResponse:
        """Respond with the page's icon."""
        return _response(_ICON, "image/svg+xml", {"Cache-Control": "max-age=86400"})

    def _details_of(self, share: ServedShare) -> ShareDetails:
        """Return the details of a share, kept once its manifest is known."""
        found = self._details.get(share.number)
        if found is None:
            found = _describe(share)
            if share.manifest is not None:
                self._details[share.number] = found
        return found


def _response(text: str, kind: str, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        body=text.encode(), content_type=kind, charset="utf-8", headers=headers
    )


def _describe(share: ServedShare) -> ShareDetails:
    link, manifest = str(share.link), share.manifest
    if manifest is None:
        name = f"Share {share.number + 1}"
        return ShareDetails(name, "not found yet", False, (), 0, link, _draw_qr(link))
    root = manifest.root
    return ShareDetails(
        root.name,
        _about(manifest),
        root.is_folder,
        share.first_children,
        root.file_count,
        link,
        _draw_qr(link),
    )


def _about(manifest: Manifest) -> str:
    size, count = format_size(manifest.root.size), manifest.chunks.count
    number = manifest.root.file_count
    files = f"{format_count(number, 'file')}, " if number != 1 else ""
    each = format_size(manifest.chunks.chunk_size)
    return f"{files}{size} in {format_count(count, 'chunk')} of {each}"


def _draw_qr(text: str) -> str | None:
    """Return a QR code in SVG; None without the package that draws it."""
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


def csp() -> str:
    """Return the page's policy, which allows its own style and script only."""
    return (
        f"default-src 'none'; script-src '{_hash(_SCRIPT)}'; "
        f"style-src '{_hash(_STYLE)}'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


def render(shares: Sequence[tuple[ShareView, ShareDetails]], others: int = 0) -> str:
    """Return the page; there are `others` shares that it does not show."""
    names = [details.name for _, details in shares]
    count = len(names) + others
    title = names[0] if count == 1 else f"{count:,} shares"
    is_waiting = not (shares and all(view.is_known for view, _ in shares))
    return _PAGE.substitute(
        title=escape(title),
        style=_STYLE,
        script=_SCRIPT,
        # Without its script the page reloads until every share is known.
        refresh='<meta http-equiv="refresh" content="3">' if is_waiting else "",
        navigation=_navigation(shares) if len(shares) > 1 else "",
        others=_others(len(shares), others) if others else "",
        shares="".join(_share(*each, count == 1) for each in shares) or _NOTHING,
    )


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _navigation(shares: Sequence[tuple[ShareView, ShareDetails]]) -> str:
    items = "".join(
        f'<li><a href="#share-{view.number}"><bdi>{escape(details.name)}</bdi></a>'
        for view, details in shares
    )
    return f'<nav aria-label="Shares"><ul>{items}</ul></nav>'


def _others(shown: int, others: int) -> str:
    return (
        f'<p class="summary others">This page shows the first {shown:,} of '
        f"{format_count(shown + others, 'share')}; shoal list names all of them.</p>"
    )


def _share(view: ShareView, details: ShareDetails, is_alone: bool) -> str:
    fields = (asdict(view) | asdict(details)).items()
    texts = {key: escape(value) for key, value in fields if isinstance(value, str)}
    return _SHARE.substitute(
        texts,
        number=view.number,
        unknown="" if view.is_known else " data-unknown",
        known=_known(view, details, texts, is_alone) if view.is_known else "",
        # A link with hints or origins has `?` and `&`, which a shell would act on.
        command=escape(f"shoal get {shlex.quote(details.link)}"),
        qr=details.qr or _NO_QR,
    )


def _known(
    view: ShareView, details: ShareDetails, texts: Mapping[str, str], is_alone: bool
) -> str:
    n, cells = view.number, view.cells
    width = max(min(len(cells), COLUMNS), 1) * STEP
    paths = "".join(
        f'<path class="s{kind.code}" data-kind="{kind.code}" '
        f'd="{draw_cells(cells, kind.code)}"/>'
        for kind in CELL_KINDS
    )
    is_open = is_alone and details.count == 1
    files = "".join(_child(n, child, is_open=is_open) for child in details.children)
    return _KNOWN.substitute(
        texts,
        number=n,
        percent=view.percent,
        width=width,
        height=max(-(-len(cells) // COLUMNS), 1) * STEP,
        shown_width=f"{width * 1.6:.0f}",
        columns=COLUMNS,
        step=STEP,
        paths=paths,
        legend=_LEGEND,
        files=files,
        rest=_links_to_all(n, details) if details.is_folder else "",
        rows="".join(map(_peer, view.peers)),
    )


def _links_to_all(n: int, details: ShareDetails) -> str:
    """Return the links to the list of all files and to the archive of them."""
    listed = sum(child.file is not None for child in details.children)
    more = details.count - listed
    text = f"All files ({more:,} more)" if more > 0 else "List of files"
    links = [f'<a href="files/{n}/">{text}</a>']
    if 0 < details.count <= MAX_ARCHIVED:
        links.append(f'<a href="zip/{n}/" download>Save all as a .zip file</a>')
    return f"<p>{' '.join(links)}</p>"


def _child(n: int, child: Child, *, is_open: bool) -> str:
    """Return the line of a file or folder at the top of a share.

    With `is_open`, its player is shown at once: there is no other file on the page.
    """
    name = escape(child.name)
    href = escape(f"files/{n}/{quoted(child.name)}")
    if child.file is None:
        archive = escape(f"zip/{n}/{quoted(child.name)}/")
        return (
            f'<li><span class="file"><a href="{href}/"><bdi>{name}</bdi>/</a> '
            f"<span>{_save(archive, name, 'Save as .zip')}</span></span>"
        )
    media = media_type(child.name)
    kind = media.name.partition("/")[0]
    player = PLAYERS.get(kind) if media.is_passive else None
    shown = ""
    if player is not None:
        shown = (
            f"<details{' open' * is_open}><summary>{player}"
            f'<span class="unseen"> <bdi>{name}</bdi></span></summary>'
            f"{_player(kind, href, name)}</details>"
        )
    return (
        f'<li><span class="file"><a href="{href}"><bdi>{name}</bdi></a> '
        f"<span>{format_size(child.file.size)} {_save(href, name, 'Save')}"
        f"</span></span>{shown}"
    )


def _save(href: str, name: str, text: str) -> str:
    """Return a link that saves a file instead of showing it."""
    unseen = f'<span class="unseen"> <bdi>{name}</bdi></span>'
    return f'<a class="save" href="{href}" download>{text}{unseen}</a>'


def _player(kind: str, href: str, name: str) -> str:
    if kind == "image":
        return f'<img loading="lazy" src="{href}" alt="{name}">'
    # Nothing is fetched before the user presses play.
    return (
        f'<{kind} controls preload="none" src="{href}" aria-label="{name}"></{kind}>'
        '<p class="unplayable" hidden>This browser cannot play this file. Open '
        "its address in a player, or save it.</p>"
    )


def _peer(row: PeerRow) -> str:
    return (
        f'<tr><th scope="row">{escape(row.where)}'
        f'<td title="{escape(row.source)}">{escape(row.path)}'
        f"<td>{escape(row.has)}<td>{escape(row.down)}<td>{escape(row.up)}"
    )
