"""What a page shows of a share is said in words, once, and then only what changes."""

from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.status import PeerStatus, ShareStatus
from shoal.gateway.page.cells import changes
from shoal.gateway.page.snapshot import (
    MAX_PEERS,
    ShareView,
    changed,
    everything,
    known_view,
    unknown_view,
)
from tests.helpers.holder import make_holding

COUNT = 10
HOLDING = make_holding(COUNT * 16_384, chunk_size=16_384)
MANIFEST = Manifest(HOLDING.link.id, HOLDING.root)


def _peer(key: int, **fields: Any) -> PeerStatus:
    known = PeerStatus(key, f"192.0.2.1:{4000 + key}", "dht", "direct", COUNT, 0, 0)
    return replace(known, **fields)


def _status(*peers: PeerStatus, here: int = 0, **fields: Any) -> ShareStatus:
    have = Bitfield(COUNT)
    for index in range(here):
        have.add(index)
    status = ShareStatus(MANIFEST, have, frozenset(), frozenset(), tuple(peers))
    return replace(status, **fields)


def _view(*peers: PeerStatus, here: int = 0, **fields: Any) -> ShareView:
    rates = {p.key: (1024.0 * p.key, 0.0) for p in peers}
    return known_view(0, MANIFEST, _status(*peers, here=here, **fields), rates)


def test_a_share_in_words() -> None:
    view = _view(
        _peer(1), here=2, asked=frozenset({1, 2, 3, 4}), reading=frozenset({4})
    )
    assert view.here == "2 of 10 chunks here"
    assert view.percent == 20
    assert view.cells == "3222400000"
    assert view.summary == "3 chunks on the way, being read: chunk 4. 1 peer connected."
    assert view.map_label == f"Chunk map: {view.here}. {view.summary}"
    assert view.rates == "1.0 KiB/s down, 0 B/s up"


def test_a_share_that_nobody_has_told_of_says_why() -> None:
    assert unknown_view(3, None).summary.startswith("Nobody has said")
    view = unknown_view(3, "Nobody has it.")
    assert (view.number, view.is_known, view.summary) == (3, False, "Nobody has it.")


def test_peers_show_their_path_and_what_they_have_the_fastest_first() -> None:
    view = _view(_peer(1, path="lan", source="lan", has=4), _peer(2))
    fast, slow = view.peers
    assert (fast.where, fast.path, fast.has) == (
        "192.0.2.1:4002",
        "direct",
        "everything",
    )
    assert (slow.path, slow.has, slow.down) == ("LAN", "40 %", "1.0 KiB/s")
    assert fast.source == "found by the DHT"


def test_a_crowd_is_counted_and_shown_in_part() -> None:
    view = _view(*map(_peer, range(MAX_PEERS + 7)))
    assert len(view.peers) == MAX_PEERS
    assert view.peers_title == f"{MAX_PEERS + 7} peers"


def test_only_what_changed_is_told() -> None:
    before, after = [_view(_peer(1), here=2)], [_view(_peer(1), here=3)]
    (news,) = changed(before, after)
    assert news["cells"] == [(2, "3")]
    assert set(news) == {"number", "here", "percent", "cells", "map_label"}
    assert changed(after, after) == []


def test_all_there_is_to_know_is_told_in_the_same_form() -> None:
    view = _view(_peer(1), here=3)
    (news,) = everything([view])
    assert news == asdict(view) | {"cells": changes("", view.cells)}
    assert msgspec.json.decode(msgspec.json.encode(news))["cells"] == [[0, view.cells]]
