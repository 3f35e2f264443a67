"""Fetch the manifest of a sealed share: the root record, then pages as needed.

`PageFetcher` owns the manifest while it grows and which peers were asked for which
page. A page is verified as it comes, and a peer is asked for one until one has
verified, so a liar wastes one page and is reported to the `on_lie` it was given.
Nothing can be fetched before its page is here, so who does not answer soon is not
waited for: as many others are asked, then twice as many.
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Generic, Protocol, TypeVar

from msgspec import Struct, field

from shoal.core.manifest.manifest import Manifest

__all__ = ["PageFetcher", "PageGiver"]

MAX_PAGES_ASKED = 4  # of one peer at once
UNPROVEN_PAGES = 1  # of one that has not given any yet
COPY_TIME = 1.0  # seconds without a page of those asked until others are asked, too
PAGE_TIME = 5.0  # seconds until whoever could be asked is asked again


class PageGiver(Protocol):
    """Give manifest pages to us; what it is called by is its identity."""

    def __hash__(self) -> int: ...

    def ask_page(self, number: int) -> None:
        """Send a request for a page."""


G = TypeVar("G", bound=PageGiver)


class _Request(Struct, Generic[G]):
    """Remember who was asked for one page, in order, and when the last of them was."""

    givers: list[G]
    since: float


class _Record(Struct):
    """Remember what one peer gave, and lacked."""

    gave_at: float  # when it last gave a page, or was added
    is_proven: bool = False  # whether one that it gave has verified
    lacking: dict[int, float] = field(default_factory=dict)  # and when it said so

    @property
    def most(self) -> int:
        """Return for how many pages it may be asked at once."""
        return MAX_PAGES_ASKED if self.is_proven else UNPROVEN_PAGES

    def may_have(self, number: int, now: float) -> bool:
        """Say whether it is worth asking for a page."""
        return now - self.lacking.get(number, -inf) >= PAGE_TIME


class PageFetcher(Generic[G]):
    """Fetch the pages that somebody wants of one manifest."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        on_lie: Callable[[G, int], None],
        on_page: Callable[[], None],
    ) -> None:
        """Begin with a verified root; `on_page` hears of each page that came."""
        self.manifest = manifest
        self._on_lie = on_lie
        self._on_page = on_page
        self._missing: deque[int] = deque()
        self._asked: dict[int, _Request[G]] = {}
        self._givers: dict[G, _Record] = {}  # in the order in which they are asked

    def want(self, numbers: Iterable[int], now: float) -> None:
        """Fetch these pages, unless they are there or on their way."""
        for number in numbers:
            known = number in self._asked or number in self._missing
            if not known and self.manifest.page(number) is None:
                self._missing.append(number)
        self._ask(now)

    def add(self, giver: G, now: float) -> None:
        """Ask a peer that knows the root, too."""
        if giver not in self._givers:
            self._givers[giver] = _Record(now)
            self._ask(now)

    def remove(self, giver: G, now: float) -> None:
        """Ask others for what a peer was asked for."""
        if self._givers.pop(giver, None) is not None:
            for number in list(self._asked):
                self._settle(giver, number)
            self._ask(now)

    def on_page(self, giver: G, number: int, data: bytes, now: float) -> None:
        """Take a page that was asked for; without data, the giver lacks it."""
        if self.manifest.page(number) is not None:
            return
        record = self._givers.get(giver)
        if not data:
            self._settle(giver, number)
            if record is not None:
                record.lacking[number] = now
        elif self.manifest.add_page(number, data):
            # Late or not, it is the page.
            self._asked.pop(number, None)
            if record is not None:
                record.gave_at, record.is_proven = now, True
            self._on_page()
        else:
            self.remove(giver, now)
            self._on_lie(giver, number)
        self._ask(now)

    def on_tick(self, now: float) -> None:
        """Ask others for pages that do not come."""
        for number, request in list(self._asked.items()):
            if now - request.since > PAGE_TIME:
                for giver in request.givers:
                    # The others first, the next time.
                    self._givers[giver] = self._givers.pop(giver)
                self._take_back(number)
            elif now - self._last_sign(request) > COPY_TIME:
                self._ask_others(number, request, now)
        self._ask(now)

    def _settle(self, giver: G, number: int) -> None:
        """Wait for a peer's answer no more; the page is missing if nobody owes it."""
        request = self._asked.get(number)
        if request is not None and giver in request.givers:
            request.givers.remove(giver)
            if not request.givers:
                self._take_back(number)

    def _take_back(self, number: int) -> None:
        del self._asked[number]
        self._missing.append(number)

    def _last_sign(self, request: _Request[G]) -> float:
        """Return when one of those asked gave something, or was asked."""
        gave_at = (self._givers[giver].gave_at for giver in request.givers)
        return max(request.since, *gave_at)

    def _load(self, giver: G) -> int:
        return sum(giver in request.givers for request in self._asked.values())

    def _ask_others(self, number: int, request: _Request[G], now: float) -> None:
        """Ask as many again for a page as were asked already."""
        others = [
            giver
            for giver, record in self._givers.items()
            if giver not in request.givers
            and self._load(giver) < record.most
            and record.may_have(number, now)
        ]
        for giver in others[: len(request.givers)]:
            request.givers.append(giver)
            request.since = now
            giver.ask_page(number)

    def _ask(self, now: float) -> None:
        for giver, record in self._givers.items():
            load = self._load(giver)
            while load < record.most:
                number = self._next_for(record, now)
                if number is None:
                    break
                self._missing.remove(number)
                self._asked[number] = _Request([giver], now)
                giver.ask_page(number)
                load += 1

    def _next_for(self, record: _Record, now: float) -> int | None:
        """Return the page to ask of a peer next."""
        for number in self._missing:
            if self.manifest.page(number) is None and record.may_have(number, now):
                return number
        return None
