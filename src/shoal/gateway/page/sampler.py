"""Measure what the page shows: the status of all shares and the peers' transfer rates.

One sample serves all open pages; while no page is open, nothing is measured.
"""

from collections.abc import Callable, Iterable, Sequence

from shoal.core.names.link import Link
from shoal.core.report.rate import RateMeter
from shoal.core.report.status import PeerStatus, ShareStatus
from shoal.gateway.page.view import ShareView, known_view, unknown_view
from shoal.gateway.shares import ServedShare

__all__ = ["PERIOD", "Sampler"]

PERIOD = 0.5  # seconds between two samples


class Sampler:
    """Sample the status of all shares and measure the rate of each connected peer."""

    def __init__(
        self,
        shares: Sequence[ServedShare],
        status: Callable[[Link], ShareStatus],
        clock: Callable[[], float],
    ) -> None:
        """Sample `shares`, whose status `status` returns."""
        self._shares = shares
        self._status = status
        self._clock = clock
        self._meters: dict[tuple[int, int], tuple[RateMeter, RateMeter]] = {}
        self._views: list[ShareView] = []
        self._sampled_at: float | None = None

    def sample(self) -> list[ShareView]:
        """Return a view of each share, at most half a `PERIOD` old."""
        now = self._clock()
        # Pages have their own timers but share a sample.
        is_new = len(self._views) != len(self._shares)
        if is_new or self._sampled_at is None or now - self._sampled_at >= PERIOD / 2:
            self._sampled_at = now
            self._views = list(self._sample_all(now))
        return self._views

    def _sample_all(self, now: float) -> Iterable[ShareView]:
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
        """Return the bytes per second received from a peer and sent to it."""
        key = (number, peer.key)
        if key not in self._meters:
            self._meters[key] = (
                RateMeter(now, peer.received),
                RateMeter(now, peer.sent),
            )
        down, up = self._meters[key]
        return down.rate(now, peer.received), up.rate(now, peer.sent)
