"""How the shares of a gateway stand, asked of the node no more often than it shows.

`Watch` owns the rates: whoever is connected has a meter for each direction, for as
long as it is. While no page is open nothing is measured.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.rate import RateMeter
from shoal.core.report.status import PeerStatus, ShareStatus
from shoal.gateway.page.snapshot import ShareView, known_view, unknown_view

__all__ = ["PERIOD", "Shown", "Watch"]

PERIOD = 0.5  # seconds between two looks


class Shown(Protocol):
    """Be a share that is shown."""

    @property
    def number(self) -> int:
        """Return its place on the page."""

    @property
    def link(self) -> Link:
        """Return what names it."""

    @property
    def problem(self) -> Exception | None:
        """Return why it is not known yet, if that is known."""

    @property
    def manifest(self) -> Manifest | None:
        """Return what it has in it; None until its files are known."""


class Watch:
    """Look at all shares, for every open page together."""

    def __init__(
        self,
        shares: Sequence[Shown],
        status: Callable[[Link], ShareStatus],
        clock: Callable[[], float],
    ) -> None:
        """Look at `shares`, of which `status` tells how they stand."""
        self._shares = shares
        self._status = status
        self._clock = clock
        self._meters: dict[tuple[int, int], tuple[RateMeter, RateMeter]] = {}
        self._views: list[ShareView] = []
        self._looked_at: float | None = None

    def look(self) -> list[ShareView]:
        """Return what is shown of each share now, or was a moment ago."""
        now = self._clock()
        # Several pages, each with its own timer, share a look.
        if self._looked_at is None or now - self._looked_at >= PERIOD / 2:
            self._looked_at = now
            self._views = list(self._look_at_all(now))
        return self._views

    def _look_at_all(self, now: float) -> Iterable[ShareView]:
        seen: set[tuple[int, int]] = set()
        for share in self._shares:
            manifest = share.manifest
            if manifest is None:
                problem = share.problem
                yield unknown_view(share.number, str(problem) if problem else None)
                continue
            status = self._status(share.link)
            rates = {}
            for peer in status.peers:
                seen.add((share.number, peer.key))
                rates[peer.key] = self._measure(share.number, peer, now)
            yield known_view(share.number, manifest, status, rates)
        self._meters = {key: self._meters[key] for key in seen}

    def _measure(
        self, number: int, peer: PeerStatus, now: float
    ) -> tuple[float, float]:
        """Return what a peer gives and takes, in bytes per second."""
        key = (number, peer.key)
        if key not in self._meters:
            self._meters[key] = (
                RateMeter(now, peer.received),
                RateMeter(now, peer.sent),
            )
        down, up = self._meters[key]
        return down.rate(now, peer.received), up.rate(now, peer.sent)
