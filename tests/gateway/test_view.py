"""A view has a share's chunk map and words, and the difference between two views."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address
from shoal.core.report.status import PeerStatus, PortMapping, ShareStatus
from shoal.gateway.page.view import (
    CELL_KINDS,
    COLUMNS,
    MAX_CELLS,
    MAX_PEERS,
    ShareView,
    changed_cells,
    changed_fields,
    draw_cells,
    full_fields,
    known_view,
    map_cells,
    unknown_view,
)
from tests.helpers.holder import make_holding

COUNT = 10
HOLDING = make_holding(COUNT * 16_384, chunk_size=16_384)
MANIFEST = Manifest(HOLDING.link.id, HOLDING.root)


def _have(count: int, *indexes: int) -> Bitfield:
    field = Bitfield(count)
    for index in indexes:
        field.add(index)
    return field


def test_a_small_share_has_one_cell_per_chunk() -> None:
    cells = map_cells(6, _have(6, 0, 1, 5), requested=[2, 3], reading=[3])
    assert cells == "332403"


def test_all_chunks_of_a_share_without_a_bitfield_are_missing() -> None:
    assert map_cells(3, None, (), ()) == "000"
    assert map_cells(0, None, (), ()) == ""


def test_a_cell_for_several_chunks_is_verified_only_if_all_of_them_are() -> None:
    count = MAX_CELLS * 2
    cells = map_cells(count, _have(count, 0, 2, 3), requested=[8], reading=[11])
    assert cells[:6] == "130024"
    assert len(cells) == MAX_CELLS


def test_a_verified_chunk_that_is_being_read_shows_as_being_read() -> None:
    assert map_cells(2, _have(2, 0, 1), requested=(), reading=[1]) == "34"


@given(st.integers(1, 1 << 40))
def test_the_number_of_cells_is_limited_for_any_share(count: int) -> None:
    if count <= 100_000:
        field: Bitfield | None = Bitfield.full(count)
    else:
        field = None
    cells = map_cells(count, field, (), [count - 1])
    assert 1 <= len(cells) <= MAX_CELLS
    assert cells[-1] == "4"
    assert set(cells[:-1]) <= {"3" if field else "0"}


@given(st.text("01234", min_size=1, max_size=50), st.data())
def test_applying_the_changed_cells_to_the_old_map_gives_the_new_map(
    after: str, data: st.DataObject
) -> None:
    size = len(after)
    before = data.draw(st.text("01234", min_size=size, max_size=size))
    patched = before
    for start, text in changed_cells(before, after):
        assert text
        patched = patched[:start] + text + patched[start + len(text) :]
    assert patched == after
    assert sum(len(text) for _, text in changed_cells(before, after)) == sum(
        a != b for a, b in zip(before, after, strict=True)
    )


def test_a_map_of_another_length_is_sent_whole() -> None:
    assert changed_cells("", "012") == [(0, "012")]
    assert changed_cells("", "") == []


def test_every_kind_of_cell_has_its_own_shape() -> None:
    assert len({each.shape for each in CELL_KINDS}) == 5
    assert len({each.code for each in CELL_KINDS}) == 5


def test_a_drawing_has_the_cells_of_one_kind_row_by_row() -> None:
    cells = "3" + "0" * (COLUMNS - 1) + "03"
    kind = next(each for each in CELL_KINDS if each.label == "verified")
    assert draw_cells(cells, kind.code) == f"M0 0{kind.shape}M10 10{kind.shape}"
    assert draw_cells("000", kind.code) == ""


def _peer(key: int, **fields: Any) -> PeerStatus:
    known = PeerStatus(key, f"192.0.2.1:{4000 + key}", "dht", "direct", COUNT, 0, 0)
    return replace(known, **fields)


def _status(*peers: PeerStatus, verified: int = 0, **fields: Any) -> ShareStatus:
    have = _have(COUNT, *range(verified))
    status = ShareStatus(MANIFEST, have, frozenset(), frozenset(), tuple(peers))
    return replace(status, **fields)


def _view(*peers: PeerStatus, verified: int = 0, **fields: Any) -> ShareView:
    rates = {p.key: (1024.0 * p.key, 0.0) for p in peers}
    status = _status(*peers, verified=verified, **fields)
    return known_view(0, MANIFEST, status, rates)


def test_a_view_describes_a_share_in_words() -> None:
    view = _view(
        _peer(1), verified=2, requested=frozenset({1, 2, 3, 4}), reading=frozenset({4})
    )
    assert view.progress == "2 of 10 chunks verified"
    assert view.percent == 20
    assert view.cells == "3222400000"
    assert view.summary == "Downloading 3 chunks, reading chunk 4. 1 peer connected."
    assert view.map_label == f"Chunk map: {view.progress}. {view.summary}"
    assert view.rates == "1.0 KiB/s down, 0 B/s up"


def test_the_summary_names_a_few_of_the_chunks_being_read() -> None:
    view = _view(reading=frozenset({1, 2, 3, 4, 5}))
    assert view.summary == "Reading chunks 1, 2, 3, 4 and more. No peers connected."
    assert _view().summary == "Idle. No peers connected."


def test_the_summary_says_what_moves_though_nothing_is_requested() -> None:
    """As on a page of `share`, and of a download with a rate limit."""
    status = _status(_peer(1))
    for rates, expected in (
        ((0.0, 5.0), "Uploading. 1 peer connected."),
        ((5.0, 5.0), "Downloading, uploading. 1 peer connected."),
    ):
        assert known_view(0, MANIFEST, status, {1: rates}).summary == expected


def test_the_summary_says_where_the_internet_reaches_the_port() -> None:
    """Not where a second router is between the first one and the internet."""
    outer, inner = Address("8.8.8.8", 5001), Address("100.64.0.7", 5001)
    mapped = [PortMapping(4001, each, "UPnP") for each in (outer, inner)]
    reached = "Idle. No peers connected. Reachable from the internet at 8.8.8.8:5001."
    assert _view(mappings=tuple(mapped)).summary == reached
    assert _view(mappings=tuple(mapped[1:])).summary == "Idle. No peers connected."


def test_the_view_of_an_unknown_share_gives_the_reason() -> None:
    assert unknown_view(3, None).summary.startswith("Waiting for a peer")
    view = unknown_view(3, "No peer has it.")
    assert (view.number, view.is_known, view.summary) == (3, False, "No peer has it.")


def test_peers_are_sorted_by_rate_with_their_path_and_share_of_chunks() -> None:
    view = _view(_peer(1, path="lan", source="lan", has=4), _peer(2))
    fast, slow = view.peers
    assert (fast.where, fast.path, fast.has) == (
        "192.0.2.1:4002",
        "direct",
        "everything",
    )
    assert (slow.path, slow.has, slow.down) == ("LAN", "40 %", "1.0 KiB/s")
    assert fast.source == "found by the DHT"


def test_only_the_first_peers_are_listed_but_all_are_counted() -> None:
    view = _view(*map(_peer, range(MAX_PEERS + 7)))
    assert len(view.peers) == MAX_PEERS
    assert view.peers_title == f"{MAX_PEERS + 7} peers"


def test_changed_fields_holds_only_what_changed() -> None:
    before, after = [_view(_peer(1), verified=2)], [_view(_peer(1), verified=3)]
    (change,) = changed_fields(before, after)
    assert change["cells"] == [(2, "3")]
    assert set(change) == {"number", "progress", "percent", "cells", "map_label"}
    assert changed_fields(after, after) == []


def test_full_fields_has_the_form_of_changed_fields() -> None:
    view = _view(_peer(1), verified=3)
    (fields,) = full_fields([view])
    assert fields == asdict(view) | {"cells": changed_cells("", view.cells)}
    assert msgspec.json.decode(msgspec.json.encode(fields))["cells"] == [
        [0, view.cells]
    ]
