"""Fetch the manifest of a sealed share: the root record, then pages as needed.

`PageFetcher` owns the manifest while it grows and which peer was asked for which
page. A page is verified as it comes, and a peer is asked for one until one has
verified, so a liar wastes one page and is reported to the `on_lie` it was given.
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Generic, Protocol, TypeVar

from shoal.core.manifest import Manifest

__all__ = ["PageFetcher", "PageGiver"]

MAX_PAGES_ASKED = 4  # of one peer at once
UNPROVEN_PAGES = 1  # of one that has not given any yet
PAGE_TIME = 3.0  # seconds a peer has for a page before another is asked


class PageGiver(Protocol):
    """Give manifest pages to us; what it is called by is its identity."""

    def __hash__(self) -> int: ...

    def ask_page(self, number: int) -> None:
        """Send a request for a page."""


G = TypeVar("G", bound=PageGiver)


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
        self._asked: dict[int, tuple[G, float]] = {}
        self._givers: list[G] = []
        self._proven: set[G] = set()  # those of which a page has verified
        self._lacking: dict[G, dict[int, float]] = {}  # what they lacked, and when

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
            self._givers.append(giver)
            self._ask(now)

    def remove(self, giver: G, now: float) -> None:
        """Ask others for what a peer was asked for."""
        if giver in self._givers:
            self._givers.remove(giver)
            self._proven.discard(giver)
            self._lacking.pop(giver, None)
            self._take_back([n for n, (g, _) in self._asked.items() if g is giver])
            self._ask(now)

    def on_page(self, giver: G, number: int, data: bytes, now: float) -> None:
        """Take a page that was asked for; without data, the giver lacks it."""
        is_late = self._asked.get(number, (None,))[0] is not giver
        if not is_late:
            del self._asked[number]
        if self.manifest.page(number) is not None:
            return
        if not data:
            self._on_lacking(giver, number, now, is_late=is_late)
        elif self.manifest.add_page(number, data):
            if giver in self._givers:
                self._proven.add(giver)
            self._on_page()
        else:
            if not is_late:
                self._missing.append(number)
            self.remove(giver, now)
            self._on_lie(giver, number)
        self._ask(now)

    def on_tick(self, now: float) -> None:
        """Ask others for pages that do not come."""
        late = [n for n, (_, since) in self._asked.items() if now - since > PAGE_TIME]
        for number in late:
            giver = self._asked[number][0]
            # The others first, the next time.
            self._givers.remove(giver)
            self._givers.append(giver)
            self._take_back([number])
        self._ask(now)

    def _take_back(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            del self._asked[number]
            self._missing.append(number)

    def _on_lacking(self, giver: G, number: int, now: float, *, is_late: bool) -> None:
        """Ask others for a page that somebody has not got, and him not so soon."""
        if not is_late:
            self._missing.append(number)
        if giver in self._givers:
            self._lacking.setdefault(giver, {})[number] = now

    def _ask(self, now: float) -> None:
        for giver in list(self._givers):
            load = sum(g is giver for g, _ in self._asked.values())
            most = MAX_PAGES_ASKED if giver in self._proven else UNPROVEN_PAGES
            while load < most and (number := self._next_for(giver, now)) is not None:
                self._missing.remove(number)
                self._asked[number] = (giver, now)
                giver.ask_page(number)
                load += 1

    def _next_for(self, giver: G, now: float) -> int | None:
        """Return the page to ask of a peer next."""
        lacking = self._lacking.get(giver, {})
        for number in self._missing:
            is_here = self.manifest.page(number) is not None
            if not is_here and now - lacking.get(number, -inf) >= PAGE_TIME:
                return number
        return None
