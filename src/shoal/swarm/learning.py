"""What this node knows of one sealed share's manifest, and learns from its peers.

`Learning` owns the manifest from its root record on, and through a `PageFetcher` who
was asked for which page. A page is given on as soon as it is here.
"""

import asyncio
from collections.abc import Callable, Iterable

from shoal.core.manifest.manifest import Manifest
from shoal.errors import LyingPeerError
from shoal.swarm.manifest_fetcher import PageFetcher
from shoal.swarm.peer import SealedPeer

__all__ = ["Learning"]


class Learning:
    """Learn what a share says of itself, and tell others."""

    def __init__(
        self,
        share_id: bytes,
        *,
        on_news: Callable[[], None],
        on_lie: Callable[[SealedPeer, int], None],
    ) -> None:
        """Know the id only.

        `on_news` hears of the root record and of each page that came, `on_lie` whose
        page did not verify.
        """
        self.manifest: Manifest | None = None
        """What is known of the share; None before the root record came."""
        self._id = share_id
        self._on_news = on_news
        self._on_lie = on_lie
        self._pages: PageFetcher[SealedPeer] | None = None
        self._clock = asyncio.get_running_loop().time

    def begin(self, manifest: Manifest) -> None:
        """Know the root record, and as much of the rest as `manifest` has."""
        self.manifest = manifest

    def on_root(self, record: bytes) -> Manifest:
        """Take the root record that a peer knows, and return what is known by it.

        Raises `LyingPeerError` for another one than is known, `ManifestError` when
        the id proves it and it is nothing to work with.
        """
        if self.manifest is None:
            self.manifest = Manifest(self._id, record)
            self._pages = PageFetcher(
                self.manifest, on_lie=self._on_lie, on_page=self._on_news
            )
            self._on_news()
        elif record != self.manifest.root_record:
            raise LyingPeerError("a root record that does not give the id")
        return self.manifest

    def want(self, numbers: Iterable[int]) -> None:
        """Fetch these pages; the root record has to be there."""
        assert self._pages is not None
        self._pages.want(numbers, self._clock())

    def has(self, numbers: Iterable[int]) -> bool:
        """Say whether all these pages are here."""
        manifest = self.manifest
        return manifest is not None and all(
            manifest.page(number) is not None for number in numbers
        )

    # Whom it is learnt from.

    def add(self, peer: SealedPeer) -> None:
        """Ask a peer that knows the root record, too."""
        if self._pages is not None:
            self._pages.add(peer, self._clock())

    def remove(self, peer: SealedPeer) -> None:
        """Ask others for what a peer was asked for."""
        if self._pages is not None:
            self._pages.remove(peer, self._clock())

    def on_page(self, peer: SealedPeer, number: int, data: bytes) -> None:
        """Take a page that was asked for."""
        if self._pages is not None:
            self._pages.on_page(peer, number, data, self._clock())

    def on_tick(self, now: float) -> None:
        """Ask others for pages that do not come."""
        if self._pages is not None:
            self._pages.on_tick(now)

    # Whom it is told.

    def tell(self, peer: SealedPeer) -> None:
        """Send a peer the pages it asked for, for as long as its socket takes them."""
        if self.manifest is not None:
            peer.give_pages(self.manifest.page)
