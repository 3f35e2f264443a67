"""What the page shows of all shares at one moment, in words; pure.

The words are made here and nowhere else: the HTML that is sent has them, and the
script on the page only puts newer ones in their place.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from shoal.core.manifest.manifest import Manifest
from shoal.core.report.status import PeerStatus, ShareStatus
from shoal.core.report.units import format_size
from shoal.gateway.page.cells import changes, map_cells

__all__ = [
    "MAX_PEERS",
    "PeerRow",
    "ShareView",
    "changed",
    "everything",
    "format_rate",
    "known_view",
    "unknown_view",
]

MAX_PEERS = 40  # of a share that are shown, those that move most first
MAX_PLACES = 4  # chunks being read that are named

PATH_NAMES = {"lan": "LAN", "direct": "direct", "hint": "hint", "origin": "origin"}
SOURCE_NAMES = {
    "lan": "found on the local network",
    "dht": "found by the DHT",
    "peer": "named by you or by a peer",
    "hint": "named in the link",
    "incoming": "came to us",
    "origin": "an HTTP or object store",
}


class PeerRow(Struct, frozen=True):
    """Say what one row of the table of peers shows."""

    where: str
    path: str
    source: str
    has: str
    down: str
    up: str


class ShareView(Struct, frozen=True):
    """Say what is shown of one share."""

    number: int
    """Its place on the page, and in the paths of its files."""
    is_known: bool
    """Whether it is known what is in it."""
    summary: str
    """What happens, in a sentence or two."""
    here: str
    """How much is here, in short."""
    percent: int
    """Of the chunks, those that are here."""
    cells: str
    """The chunk map."""
    map_label: str
    """The same in words."""
    down: int
    """Bytes per second that come."""
    up: int
    """Bytes per second that go."""
    rates: str
    """The same in words."""
    peers: tuple[PeerRow, ...]
    """Who is connected, as far as there is room."""
    peers_title: str
    """How many are connected."""


def unknown_view(number: int, problem: str | None) -> ShareView:
    """Return what is shown while it is not known what is in a share."""
    summary = problem or "Nobody has said yet what is in this share."
    return ShareView(
        number, False, summary, "", 0, "", "", 0, 0, _rates(0, 0), (), "No peers"
    )


def known_view(
    number: int,
    manifest: Manifest,
    status: ShareStatus,
    rates: Mapping[int, tuple[float, float]],
) -> ShareView:
    """Return what is shown of a share; `rates` are its peers' by key: down and up."""
    count = manifest.chunks.count
    have, asked = status.have, status.asked
    here = len(have) if have is not None else 0
    coming = sum(have is None or index not in have for index in asked)
    peers = sorted(status.peers, key=lambda p: (-sum(rates.get(p.key, (0, 0))), p.key))
    down = round(sum(rates[p.key][0] for p in peers if p.key in rates))
    up = round(sum(rates[p.key][1] for p in peers if p.key in rates))
    arrived = f"{here:,} of {_number(count, 'chunk')} here"
    summary = _summary(coming, status.reading, len(peers))
    return ShareView(
        number,
        True,
        summary,
        arrived,
        here * 100 // count if count else 100,
        map_cells(count, have, asked, status.reading),
        f"Chunk map: {arrived}. {summary}",
        down,
        up,
        _rates(down, up),
        tuple(_row(p, count, rates.get(p.key, (0, 0))) for p in peers[:MAX_PEERS]),
        _peers_title(len(peers)),
    )


def everything(views: Iterable[ShareView]) -> list[dict[str, Any]]:
    """Return all there is to know, in the form that `changed` has."""
    return [asdict(view) | {"cells": changes("", view.cells)} for view in views]


def changed(
    before: Sequence[ShareView], after: Sequence[ShareView]
) -> list[dict[str, Any]]:
    """Return what is new in `after`: of each share its number and the new fields.

    Of cells only those that changed, as `changes` has them.
    """
    news = []
    for old, new in zip(before, after, strict=True):
        fields = {
            name: value
            for name, value in asdict(new).items()
            if value != getattr(old, name)
        }
        if "cells" in fields:
            fields["cells"] = changes(old.cells, new.cells)
        if fields:
            news.append({"number": new.number, **fields})
    return news


def format_rate(rate: float) -> str:
    """Return bytes per second as a person reads them."""
    return f"{format_size(rate)}/s"


def _summary(coming: int, reading: Iterable[int], peers: int) -> str:
    words = [f"{_number(coming, 'chunk') if coming else 'Nothing'} on the way"]
    places = sorted(reading)
    if places:
        named = ", ".join(f"{place:,}" for place in places[:MAX_PLACES])
        more = " and more" if len(places) > MAX_PLACES else ""
        words.append(f"being read: chunk {named}{more}")
    return f"{', '.join(words)}. {_peers_title(peers)} connected."


def _rates(down: float, up: float) -> str:
    return f"{format_rate(down)} down, {format_rate(up)} up"


def _row(peer: PeerStatus, count: int, rate: tuple[float, float]) -> PeerRow:
    return PeerRow(
        peer.address,
        PATH_NAMES.get(peer.path, peer.path),
        SOURCE_NAMES.get(peer.source, peer.source),
        "everything" if peer.has >= count else f"{peer.has * 100 // count} %",
        format_rate(rate[0]),
        format_rate(rate[1]),
    )


def _number(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _peers_title(number: int) -> str:
    return _number(number, "peer") if number else "No peers"
