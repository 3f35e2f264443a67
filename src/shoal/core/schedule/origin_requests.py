"""When to request a chunk from an origin; pure.

An origin is a source for what no peer has: peers that fetch a chunk from it announce
that, and have the chunk soon, so others need not fetch it as well. Only when no chunk
has arrived for a while is an origin asked for chunks that peers have, too.
"""

from collections.abc import Collection, Hashable, Iterable
from typing import Generic, TypeVar

from shoal.core.limits import MAX_ORIGIN_FETCHES
from shoal.core.manifest.chunks import Bitfield

__all__ = ["FETCH_TIME", "OriginFetches"]

FETCH_TIME = 5.0  # seconds that a peer has to fetch a chunk it announced, at least
FETCH_DELAYS = 3  # the same in the time that our own chunks take, if that is longer

P = TypeVar("P", bound=Hashable)


class OriginFetches(Generic[P]):
    """Remember which chunks peers fetch from an origin, and since when.

    Once a peer does not have a chunk in time, its announcements are ignored, so that
    they cannot keep us from a chunk.
    """

    def __init__(self) -> None:
        """Start with no peer fetching anything."""
        self._fetched: dict[int, tuple[P, float]] = {}
        self._of: dict[P, set[int]] = {}
        self._distrusted: set[P] = set()

    def add(self, peer: P, indexes: Iterable[int], now: float) -> None:
        """Note the chunks that a peer announces to fetch from an origin."""
        if peer in self._distrusted:
            return
        chunks = self._of.setdefault(peer, set())
        for index in indexes:
            if len(chunks) >= MAX_ORIGIN_FETCHES:
                return
            if index not in self._fetched:
                self._fetched[index] = (peer, now)
                chunks.add(index)

    def on_have(self, peer: P, indexes: Collection[int] | Bitfield) -> None:
        """Note the chunks that a peer has by now."""
        chunks = self._of.get(peer)
        if chunks:
            # A bitfield may have very many, and the peer fetches few.
            named = indexes if isinstance(indexes, Bitfield) else set(indexes)
            for index in [each for each in chunks if each in named]:
                chunks.discard(index)
                del self._fetched[index]

    def remove(self, peer: P) -> None:
        """Forget a peer and what it announced."""
        for index in self._of.pop(peer, ()):
            del self._fetched[index]
        self._distrusted.discard(peer)

    def peer_of(self, index: int, now: float, delay: float) -> P | None:
        """Return the peer that should have a chunk soon, or None.

        `delay` is how many seconds a chunk takes us at the moment.
        """
        found = self._fetched.get(index)
        if found is None:
            return None
        peer, since = found
        if now - since <= max(FETCH_TIME, FETCH_DELAYS * delay):
            return peer
        self.remove(peer)
        self._distrusted.add(peer)
        return None
