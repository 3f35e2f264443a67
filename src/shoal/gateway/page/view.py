"""What the page shows of each share at one moment: as text and as a chunk map; pure.

All text is made here. The HTML from the server includes it, and the script on the page
only replaces it with newer text.

A chunk map has a limited number of cells, each for a chunk or a range of chunks. A cell
is one character, so a map is a string and its changes are short strings. Each kind of
cell has its own shape, because some people cannot tell colours apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.status import PeerStatus, PortMapping, ShareStatus
from shoal.core.report.units import format_count, format_size

__all__ = [
    "CELL_KINDS",
    "COLUMNS",
    "MAX_CELLS",
    "MAX_PEERS",
    "STEP",
    "CellKind",
    "PeerRow",
    "ShareView",
    "changed_cells",
    "changed_fields",
    "draw_cells",
    "full_fields",
    "known_view",
    "map_cells",
    "unknown_view",
]

MAX_CELLS = 1_200
COLUMNS = 60  # cells per row
STEP = 10  # units of the drawing per cell
MAX_PEERS = 40  # rows in the table of peers, those with the highest rates first
MAX_READ = 4  # chunks being read that the summary names

PATH_NAMES = {
    "lan": "LAN",
    "direct": "direct",
    "mapped": "port mapped by the router",
    "punched": "hole punched by both ends",
    "relayed": "relay",
    "hint": "hint",
    "origin": "origin",
}
SOURCE_NAMES = {
    "lan": "found on the local network",
    "dht": "found by the DHT",
    "peer": "named by you or by a peer",
    "hint": "named in the link",
    "incoming": "connected to us",
    "relayed": "met at a relay",
    "origin": "an HTTP server or object store",
}


# The chunk map.


class CellKind(Struct, frozen=True):
    """Describe one kind of cell."""

    code: str
    """The character for it in a map."""
    label: str
    """Its meaning, for the legend."""
    shape: str
    """An SVG path within 10 by 10 units, relative to the upper left corner."""


MISSING, PARTIAL, REQUESTED, VERIFIED, READING = "01234"

CELL_KINDS = (
    CellKind(VERIFIED, "verified", "m1 1h8v8h-8z"),
    CellKind(PARTIAL, "partly verified", "m1 5h8v4h-8z"),
    CellKind(REQUESTED, "requested", "m1 1h8v8h-8zm2 2v4h4v-4z"),
    CellKind(READING, "being read", "h10v10h-10zm5 2l-3 3 3 3 3-3z"),
    CellKind(MISSING, "missing", "m3.5 3.5h3v3h-3z"),
)


def map_cells(
    count: int,
    have: Bitfield | None,
    requested: Iterable[int],
    reading: Iterable[int],
) -> str:
    """Return the chunk map of a share of `count` chunks, one character per cell.

    A cell with a chunk that is being read shows that; otherwise, one with a requested
    chunk shows that; otherwise it shows how many of its chunks we have.
    """
    if not count:
        return ""
    width = -(-count // MAX_CELLS)
    cells = [
        _stored_kind(have, first, min(first + width, count))
        for first in range(0, count, width)
    ]
    for code, indexes in ((REQUESTED, requested), (READING, reading)):
        for index in indexes:
            cells[index // width] = code
    return "".join(cells)


def _stored_kind(have: Bitfield | None, first: int, end: int) -> str:
    number = have.number_in(first, end) if have is not None else 0
    if not number:
        return MISSING
    return VERIFIED if number == end - first else PARTIAL


def changed_cells(before: str, after: str) -> list[tuple[int, str]]:
    """Return the runs of cells in `after` that differ, each with its position.

    If the length differs, the whole of `after` is one run.
    """
    if len(before) != len(after):
        return [(0, after)] if after else []
    differ = (i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
    runs = groupby(enumerate(differ), key=lambda pair: pair[1] - pair[0])
    found = []
    for _, run in runs:
        indexes = [index for _, index in run]
        found.append((indexes[0], after[indexes[0] : indexes[-1] + 1]))
    return found


def draw_cells(cells: str, code: str) -> str:
    """Return one SVG path with all cells of one kind."""
    shape = next(kind.shape for kind in CELL_KINDS if kind.code == code)
    return "".join(
        f"M{i % COLUMNS * STEP} {i // COLUMNS * STEP}{shape}"
        for i, cell in enumerate(cells)
        if cell == code
    )


# The words.


class PeerRow(Struct, frozen=True):
    """Hold the texts in one row of the table of peers."""

    where: str
    path: str
    source: str
    has: str
    down: str
    up: str


class ShareView(Struct, frozen=True):
    """Hold everything that the page shows of one share and that may change."""

    number: int
    """The share's number on the page and in the paths of its files."""
    is_known: bool
    """True once the manifest is known."""
    summary: str
    """The current activity, in one or two sentences."""
    progress: str
    """How many chunks are verified."""
    percent: int
    """Verified chunks, as a percentage."""
    cells: str
    """The chunk map."""
    map_label: str
    """The chunk map in words."""
    down: int
    """Bytes per second received."""
    up: int
    """Bytes per second sent."""
    rates: str
    """Both rates, in words."""
    peers: tuple[PeerRow, ...]
    """The first `MAX_PEERS` connected peers."""
    peers_title: str
    """The number of connected peers, in words."""


def unknown_view(number: int, problem: str | None) -> ShareView:
    """Return the view of a share whose manifest is not known, and why if known."""
    summary = problem or "Waiting for a peer that has this share."
    return ShareView(
        number, False, summary, "", 0, "", "", 0, 0, _rates(0, 0), (), "No peers"
    )


def known_view(
    number: int,
    manifest: Manifest,
    status: ShareStatus,
    rates: Mapping[int, tuple[float, float]],
) -> ShareView:
    """Return the view of a share.

    `rates` has two rates for each peer, by `PeerStatus.key`: bytes per second received
    from the peer and sent to it.
    """
    count = manifest.chunks.count
    have, requested = status.have, status.requested
    verified = len(have) if have is not None else 0
    coming = sum(have is None or index not in have for index in requested)
    peers = sorted(status.peers, key=lambda p: (-sum(rates.get(p.key, (0, 0))), p.key))
    down = round(sum(rates[p.key][0] for p in peers if p.key in rates))
    up = round(sum(rates[p.key][1] for p in peers if p.key in rates))
    progress = f"{verified:,} of {format_count(count, 'chunk')} verified"
    summary = _summary(coming, status.reading, len(peers), down, up)
    summary += _reach(status.mappings)
    return ShareView(
        number,
        True,
        summary,
        progress,
        verified * 100 // count if count else 100,
        map_cells(count, have, requested, status.reading),
        f"Chunk map: {progress}. {summary}",
        down,
        up,
        _rates(down, up),
        tuple(_row(p, count, rates.get(p.key, (0, 0))) for p in peers[:MAX_PEERS]),
        _peers_title(len(peers)),
    )


def full_fields(views: Iterable[ShareView]) -> list[dict[str, Any]]:
    """Return all fields of each share, in the form of `changed_fields`."""
    return [asdict(view) | {"cells": changed_cells("", view.cells)} for view in views]


def changed_fields(
    before: Sequence[ShareView], after: Sequence[ShareView]
) -> list[dict[str, Any]]:
    """Return the number and the changed fields of each share that changed.

    The field `cells` holds only what `changed_cells` returns.
    """
    changes = []
    for old, new in zip(before, after, strict=True):
        fields = {
            name: value
            for name, value in asdict(new).items()
            if value != getattr(old, name)
        }
        if "cells" in fields:
            fields["cells"] = changed_cells(old.cells, new.cells)
        if fields:
            changes.append({"number": new.number, **fields})
    return changes


def _summary(
    coming: int, reading: Iterable[int], peers: int, down: int, up: int
) -> str:
    activities = [f"downloading {format_count(coming, 'chunk')}"] if coming else []
    if down and not coming:
        activities.append("downloading")  # a rate limit holds up the next request
    if up:
        activities.append("uploading")
    chunks = sorted(reading)
    if chunks:
        named = ", ".join(f"{index:,}" for index in chunks[:MAX_READ])
        more = " and more" if len(chunks) > MAX_READ else ""
        word = "chunk" if len(chunks) == 1 else "chunks"
        activities.append(f"reading {word} {named}{more}")
    activity = ", ".join(activities or ["idle"]).capitalize()
    return f"{activity}. {_peers_title(peers)} connected."


def _reach(mappings: Iterable[PortMapping]) -> str:
    """Return the sentence that says where peers on the internet dial us, if known."""
    where = next((str(each.outside) for each in mappings if each.is_global), None)
    return "" if where is None else f" Reachable from the internet at {where}."


def _rates(down: float, up: float) -> str:
    return f"{_format_rate(down)} down, {_format_rate(up)} up"


def _format_rate(rate: float) -> str:
    return f"{format_size(rate)}/s"


def _row(peer: PeerStatus, count: int, rate: tuple[float, float]) -> PeerRow:
    return PeerRow(
        peer.address,
        PATH_NAMES.get(peer.path, peer.path),
        SOURCE_NAMES.get(peer.source, peer.source),
        "everything" if peer.has >= count else f"{peer.has * 100 // count} %",
        _format_rate(rate[0]),
        _format_rate(rate[1]),
    )


def _peers_title(number: int) -> str:
    return format_count(number, "peer") if number else "No peers"
