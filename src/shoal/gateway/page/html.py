"""The page as HTML: complete without its script, which only keeps it up to date; pure.

Everything that a share says of itself is escaped, names most of all.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

from msgspec import Struct

from shoal.core.manifest.file_table import File
from shoal.core.report.units import format_size
from shoal.gateway.mediatypes import media_type
from shoal.gateway.page.cells import COLUMNS, STATES, STEP, draw
from shoal.gateway.page.snapshot import PeerRow, ShareView
from shoal.gateway.paths import quoted

__all__ = ["ICON", "Content", "csp", "render"]

MAX_FILES = 200  # of a share that the page lists; the rest is in the folder's own list
PLAYERS = {"video": "Play", "audio": "Listen", "image": "Look"}

_HERE = files("shoal.gateway.page")
_STYLE = _HERE.joinpath("page.css").read_text("utf-8")
_SCRIPT = _HERE.joinpath("page.js").read_text("utf-8")
_PAGE = Template(_HERE.joinpath("page.html").read_text("utf-8"))
ICON = _HERE.joinpath("icon.svg").read_text("utf-8")
"""The picture of the page, as SVG."""


class Content(Struct, frozen=True):
    """Say what does not change in a share, once it is known."""

    name: str
    """What it is called."""
    about: str
    """How large it is, and how many files it has."""
    is_folder: bool
    """Whether it has a list of files of its own."""
    files: Sequence[File]
    """What is in it; none while it is not known."""
    link: str
    """What others pass to `get`."""
    qr: str | None
    """The link as a QR code in SVG; None when it cannot be drawn."""


def csp() -> str:
    """Return the page's policy: its own style and script, and nothing of others."""
    return (
        f"default-src 'none'; script-src '{_hash(_SCRIPT)}'; "
        f"style-src '{_hash(_STYLE)}'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


def render(shares: Sequence[tuple[ShareView, Content]]) -> str:
    """Return the page."""
    names = [content.name for _, content in shares]
    title = names[0] if len(names) == 1 else f"{len(names)} shares"
    is_waiting = not all(view.is_known for view, _ in shares)
    return _PAGE.substitute(
        title=escape(title),
        style=_STYLE,
        script=_SCRIPT,
        # Without its script the page asks again until there is something to show.
        refresh='<meta http-equiv="refresh" content="3">' if is_waiting else "",
        contents=_contents(shares) if len(shares) > 1 else "",
        shares="".join(_share(view, content) for view, content in shares),
    )


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _contents(shares: Sequence[tuple[ShareView, Content]]) -> str:
    items = "".join(
        f'<li><a href="#share-{view.number}"><bdi>{escape(content.name)}</bdi></a>'
        for view, content in shares
    )
    return f'<nav aria-label="Shares"><ul>{items}</ul></nav>'


def _share(view: ShareView, content: Content) -> str:
    n = view.number
    known = "" if view.is_known else " data-unknown"
    body = _known(view, content) if view.is_known else ""
    return (
        f'<section class="share" id="share-{n}" data-share="{n}"{known} '
        f'aria-labelledby="name-{n}">'
        f'<header><h2 id="name-{n}"><bdi>{escape(content.name)}</bdi></h2>'
        f"<p>{escape(content.about)}</p></header>"
        f'<p class="summary" data-text="summary">{escape(view.summary)}</p>'
        f"{body}{_pass_on(n, content)}</section>"
    )


def _known(view: ShareView, content: Content) -> str:
    return (
        _chunks(view)
        + _files(view.number, content)
        + '<div class="columns">'
        + _speed(view)
        + _peers(view)
        + "</div>"
    )


def _chunks(view: ShareView) -> str:
    n, cells = view.number, view.cells
    width = max(min(len(cells), COLUMNS), 1) * STEP
    height = max(-(-len(cells) // COLUMNS), 1) * STEP
    paths = "".join(
        f'<path class="s{state.code}" data-state="{state.code}" '
        f'd="{draw(cells, state.code)}"/>'
        for state in STATES
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><path class="s{state.code}" '
        f'd="M0 0{state.shape}"/></svg>{state.label}'
        for state in STATES
    )
    return (
        f'<section class="chunks" aria-labelledby="chunks-{n}">'
        f'<h3 id="chunks-{n}">Chunks</h3>'
        f'<p class="here"><progress max="100" value="{view.percent}" '
        f'aria-label="Chunks that are here"></progress> '
        f'<span data-text="here">{escape(view.here)}</span></p>'
        f'<svg class="map" role="img" aria-label="{escape(view.map_label)}" '
        f'viewBox="0 0 {width} {height}" width="{width * 1.6:.0f}" '
        f'data-cells="{cells}" data-columns="{COLUMNS}" data-step="{STEP}">'
        f'{paths}</svg><ul class="legend" aria-label="Legend">{legend}</ul></section>'
    )


def _files(n: int, content: Content) -> str:
    rows = "".join(_file(n, content, file) for file in content.files[:MAX_FILES])
    more = len(content.files) - MAX_FILES
    rest = ""
    if content.is_folder:
        text = f"All files, {more:,} more" if more > 0 else "As a list of its own"
        rest = f'<p><a href="files/{n}/">{text}</a></p>'
    return (
        f'<section class="files" aria-labelledby="files-{n}">'
        f'<h3 id="files-{n}">Files</h3><ul>{rows}</ul>{rest}</section>'
    )


def _file(n: int, content: Content, file: File) -> str:
    href = escape(f"files/{n}/{quoted(file.path)}")
    name = escape(file.path)
    kind = media_type(file.path)
    player = PLAYERS.get(kind.name.partition("/")[0]) if kind.is_passive else None
    shown = ""
    if player is not None:
        is_open = " open" if len(content.files) == 1 else ""
        element = _player(kind.name.partition("/")[0], href, name)
        shown = (
            f'<details{is_open}><summary>{player}<span class="unseen"> <bdi>{name}'
            f"</bdi></span></summary>{element}</details>"
        )
    return (
        f'<li><span class="file"><a href="{href}"><bdi>{name}</bdi></a> '
        f"<span>{format_size(file.size)}</span></span>{shown}"
    )


def _player(kind: str, href: str, name: str) -> str:
    if kind == "image":
        return f'<img loading="lazy" src="{href}" alt="{name}">'
    # Nothing is fetched before somebody plays it.
    return (
        f'<{kind} controls preload="none" src="{href}" aria-label="{name}"></{kind}>'
        '<p class="unplayable" hidden>This browser cannot play it. Give its address '
        "to a player, or save it.</p>"
    )


def _speed(view: ShareView) -> str:
    n = view.number
    return (
        f'<section class="speed" aria-labelledby="speed-{n}">'
        f'<h3 id="speed-{n}">Speed</h3><p data-text="rates">{escape(view.rates)}</p>'
        '<svg class="graph" role="img" aria-label="Speed over the last minute" '
        'viewBox="0 0 120 40" preserveAspectRatio="none" hidden>'
        '<path class="area" data-line="area"/><path class="down" data-line="down"/>'
        '<path class="up" data-line="up"/></svg>'
        '<ul class="legend" data-graph hidden><li><svg viewBox="0 0 10 10" '
        'aria-hidden="true"><path class="down" d="M0 5h10"/></svg>down<li>'
        '<svg viewBox="0 0 10 10" aria-hidden="true"><path class="up" d="M0 5h10"/>'
        "</svg>up<li data-most></ul></section>"
    )


def _peers(view: ShareView) -> str:
    n = view.number
    heads = "".join(
        f'<th scope="col">{head}' for head in ("Address", "Path", "Has", "Down", "Up")
    )
    return (
        f'<section class="peers" aria-labelledby="peers-{n}">'
        f'<h3 id="peers-{n}" data-text="peers_title">{escape(view.peers_title)}</h3>'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="peers-{n}">'
        f"<table><thead><tr>{heads}</thead>"
        f"<tbody>{''.join(map(_peer, view.peers))}</tbody></table></div></section>"
    )


def _peer(row: PeerRow) -> str:
    return (
        f'<tr><th scope="row">{escape(row.where)}'
        f'<td title="{escape(row.source)}">{escape(row.path)}'
        f"<td>{escape(row.has)}<td>{escape(row.down)}<td>{escape(row.up)}"
    )


def _pass_on(n: int, content: Content) -> str:
    qr = content.qr or (
        '<p class="note">With <code>pip install "shoal[qr]"</code> '
        "a QR code stands here.</p>"
    )
    return (
        f'<section class="pass" aria-labelledby="pass-{n}">'
        f'<h3 id="pass-{n}">Pass it on</h3><div class="link"><div>'
        "<p>Whoever has this link can fetch the share:</p>"
        f'<p><code id="link-{n}">shoal get {escape(content.link)}</code></p>'
        f'<button type="button" data-copy="link-{n}" hidden>Copy</button></div>'
        f"{qr}</div></section>"
    )
