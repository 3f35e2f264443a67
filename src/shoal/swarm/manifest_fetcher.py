"""Fetch the manifest of a sealed share from its peers: the root record, then pages.

`ManifestFetcher` owns the manifest while it grows, and knows which peers were asked
for which page. A page is verified when it arrives. A peer is asked for one page at a
time until one of its pages has verified, so a liar wastes one page. No chunk can be
fetched before its page is here, so a page that is late is requested from more peers,
each time from as many as were asked before.
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Generic, Protocol, TypeVar

from msgspec import Struct, field

from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.errors import LyingPeerError

__all__ = ["ManifestFetcher", "PageSource"]

MAX_PAGES_REQUESTED = 4  # from one peer at once
UNPROVEN_PAGES = 1  # from a peer that has not sent any page yet
COPY_TIME = 1.0  # seconds without a requested page until other peers are asked too
PAGE_TIME = 5.0  # seconds until every peer that could be asked is asked again


class PageSource(Protocol):
    """Send manifest pages to us: a peer, told from others by identity."""

    def __hash__(self) -> int: ...

    def request_page(self, key: PageKey) -> None:
        """Send a request for a page."""


S = TypeVar("S", bound=PageSource)


class _Request(Struct, Generic[S]):
    """The peers that one page was requested from, in order, and when the last was."""

    sources: list[S]
    since: float


class _Record(Struct):
    """What one peer has sent, and which pages it lacks."""

    sent_at: float  # when it last sent a page, or was added
    is_proven: bool = False  # True once one of its pages has verified
    lacking: dict[PageKey, float] = field(default_factory=dict)  # when it said so

    @property
    def most(self) -> int:
        """Return how many pages can be requested from it at once."""
        return MAX_PAGES_REQUESTED if self.is_proven else UNPROVEN_PAGES

    def may_have(self, key: PageKey, now: float) -> bool:
        """Return True if a page is worth requesting from it."""
        return now - self.lacking.get(key, -inf) >= PAGE_TIME


class ManifestFetcher(Generic[S]):
    """Fetch the parts of one share's manifest that are wanted."""

    def __init__(
        self,
        share_id: bytes,
        *,
        on_page: Callable[[], None],
        on_wrong_page: Callable[[S, PageKey], None],
    ) -> None:
        """Start with the id alone.

        `on_page` is called when the root record or a page has arrived, and
        `on_wrong_page` with the peer whose page did not verify.
        """
        self.manifest: Manifest | None = None
        """What is known of the share; None before the root record arrives."""
        self._id = share_id
        self._on_page = on_page
        self._on_wrong_page = on_wrong_page
        self._missing: deque[PageKey] = deque()
        self._requested: dict[PageKey, _Request[S]] = {}
        self._sources: dict[S, _Record] = {}  # in the order in which they are asked

    def on_root(self, record: bytes) -> Manifest:
        """Accept the root record that a peer sent, and return the manifest.

        Raises `LyingPeerError` for a record other than the one known, `ManifestError`
        if the id proves it but it cannot be used.
        """
        if self.manifest is None:
            self.manifest = Manifest(self._id, record)
            self._on_page()
        elif record != self.manifest.root_record:
            raise LyingPeerError("a root record that does not give the id")
        return self.manifest

    def want(self, keys: Iterable[PageKey], now: float) -> None:
        """Fetch these pages, unless they are here or requested already.

        The root record must be known.
        """
        assert self.manifest is not None
        for key in keys:
            known = key in self._requested or key in self._missing
            if not known and self.manifest.page(key) is None:
                self._missing.append(key)
        self._request_missing(now)

    def count_missing(self, keys: Iterable[PageKey]) -> int:
        """Return how many of these pages have not arrived; the root must be known."""
        assert self.manifest is not None
        return sum(self.manifest.page(key) is None for key in keys)

    # The peers that pages are requested from.

    def add(self, source: S, now: float) -> None:
        """Request pages from a peer that knows the root record, too."""
        if source not in self._sources:
            self._sources[source] = _Record(now)
            self._request_missing(now)

    def remove(self, source: S, now: float) -> None:
        """Request from other peers what this one was asked for."""
        if self._sources.pop(source, None) is not None:
            for key in list(self._requested):
                self._give_up_on(source, key)
            self._request_missing(now)

    def on_page(self, source: S, key: PageKey, data: bytes, now: float) -> None:
        """Accept a page that was requested; without data, the peer lacks it."""
        if self.manifest is None or self.manifest.page(key) is not None:
            return
        record = self._sources.get(source)
        if not data:
            self._give_up_on(source, key)
            if record is not None:
                record.lacking[key] = now
        elif self.manifest.add_page(key, data):
            # A late answer is as good.
            self._requested.pop(key, None)
            if record is not None:
                record.sent_at, record.is_proven = now, True
            self._on_page()
        else:
            self.remove(source, now)
            self._on_wrong_page(source, key)
        self._request_missing(now)

    def on_tick(self, now: float) -> None:
        """Request late pages from other peers."""
        for key, request in list(self._requested.items()):
            if now - request.since > PAGE_TIME:
                for source in request.sources:
                    # Next time the other peers are asked first.
                    self._sources[source] = self._sources.pop(source)
                self._put_back(key)
            elif now - self._last_sign(request) > COPY_TIME:
                self._request_copies(key, request, now)
        self._request_missing(now)

    # Requesting.

    def _give_up_on(self, source: S, key: PageKey) -> None:
        """Stop waiting for a peer's answer; the page is missing if it was the last."""
        request = self._requested.get(key)
        if request is not None and source in request.sources:
            request.sources.remove(source)
            if not request.sources:
                self._put_back(key)

    def _put_back(self, key: PageKey) -> None:
        del self._requested[key]
        self._missing.append(key)

    def _last_sign(self, request: _Request[S]) -> float:
        """Return when one of the peers asked last sent a page, or was asked."""
        sent_at = (self._sources[source].sent_at for source in request.sources)
        return max(request.since, *sent_at)

    def _load(self, source: S) -> int:
        return sum(source in request.sources for request in self._requested.values())

    def _request_copies(self, key: PageKey, request: _Request[S], now: float) -> None:
        """Request a page from as many peers again as were asked already."""
        others = [
            source
            for source, record in self._sources.items()
            if source not in request.sources
            and self._load(source) < record.most
            and record.may_have(key, now)
        ]
        for source in others[: len(request.sources)]:
            request.sources.append(source)
            request.since = now
            source.request_page(key)

    def _request_missing(self, now: float) -> None:
        for source, record in self._sources.items() if self._missing else ():
            load = self._load(source)
            while load < record.most:
                key = self._next_for(record, now)
                if key is None:
                    break
                self._missing.remove(key)
                self._requested[key] = _Request([source], now)
                source.request_page(key)
                load += 1

    def _next_for(self, record: _Record, now: float) -> PageKey | None:
        """Return the page to request next from a peer."""
        assert self.manifest is not None
        for key in self._missing:
            if self.manifest.page(key) is None and record.may_have(key, now):
                return key
        return None
