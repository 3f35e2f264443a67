"""Rates are measured between looks, for whoever is connected and nobody else."""

from typing import NamedTuple

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.status import PeerStatus, ShareStatus
from shoal.errors import NotFoundError
from shoal.gateway.page.watch import PERIOD, Watch
from tests.helpers.holder import make_holding

HOLDING = make_holding(16_384 * 3, chunk_size=16_384)
MANIFEST = Manifest(HOLDING.link.id, HOLDING.root)


class Share(NamedTuple):
    """Be a share that is shown."""

    number: int
    link: Link
    problem: Exception | None
    manifest: Manifest | None


class World:
    """Be the clock, and the node that knows how things stand."""

    def __init__(self, *shares: Share) -> None:
        self.now = 0.0
        self.looks = 0
        self.peers: dict[int, int] = {}
        """Bytes that came from each peer."""
        self.watch = Watch(shares, self.status, lambda: self.now)

    def status(self, link: Link) -> ShareStatus:
        self.looks += 1
        address = "192.0.2.1:4000"
        peers = tuple(
            PeerStatus(key, address, "lan", "lan", 3, received, 0)
            for key, received in self.peers.items()
        )
        nothing: frozenset[int] = frozenset()
        return ShareStatus(MANIFEST, Bitfield(3), nothing, nothing, peers)


KNOWN = Share(0, HOLDING.link, None, MANIFEST)


def test_a_rate_is_what_came_since_the_first_look() -> None:
    world = World(KNOWN)
    world.peers = {1: 5000, 2: 0}
    (view,) = world.watch.look()
    assert view.down == 0  # what came before is no rate
    world.now, world.peers = 2.0, {1: 5000 + 4096, 2: 2048}
    (view,) = world.watch.look()
    assert view.down == 3072
    assert [row.down for row in view.peers] == ["2.0 KiB/s", "1.0 KiB/s"]


def test_who_has_left_is_forgotten() -> None:
    world = World(KNOWN)
    world.peers = {1: 1 << 20}
    world.watch.look()
    world.now, world.peers = 2.0, {}
    assert world.watch.look()[0].peers == ()
    world.now, world.peers = 4.0, {1: 0}  # somebody else, by the same number
    assert world.watch.look()[0].down == 0


def test_several_pages_share_a_look() -> None:
    world = World(KNOWN)
    views = world.watch.look()
    world.now = PERIOD / 4
    assert world.watch.look() is views
    world.now = PERIOD
    world.watch.look()
    assert world.looks == 2


def test_nobody_is_asked_about_a_share_that_is_not_known() -> None:
    world = World(Share(0, HOLDING.link, NotFoundError("Nobody has it."), None))
    (view,) = world.watch.look()
    assert (view.is_known, view.summary) == (False, "Nobody has it.")
    assert world.looks == 0
