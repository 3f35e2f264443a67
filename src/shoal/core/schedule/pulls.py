"""What other peers are asking an origin for, so that we need not; pure.

Each says so as it asks, and has the chunk soon. Who does not is not believed again: a
word must not keep anybody from a chunk for long.
"""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from shoal.core.wire.sealed_messages import MAX_PULLED

__all__ = ["Pulls"]

PULL_TIME = 5.0  # seconds that a peer has for a chunk; more where ours take long

G = TypeVar("G", bound=Hashable)


class Pulls(Generic[G]):
    """Remember who pulls which chunk, and since when."""

    def __init__(self) -> None:
        self._pulled: dict[int, tuple[G, float]] = {}
        self._of: dict[G, set[int]] = {}
        self._distrusted: set[G] = set()

    def on_pulling(self, peer: G, indexes: Iterable[int], now: float) -> None:
        """Note what a peer says it is asking an origin for."""
        if peer in self._distrusted:
            return
        mine = self._of.setdefault(peer, set())
        for index in indexes:
            if len(mine) >= MAX_PULLED:
                return
            if index not in self._pulled:
                self._pulled[index] = (peer, now)
                mine.add(index)

    def on_have(self, peer: G, indexes: Iterable[int]) -> None:
        """Note what a peer has by now."""
        mine = self._of.get(peer)
        if mine:
            for index in indexes:
                if index in mine:
                    mine.discard(index)
                    del self._pulled[index]

    def remove(self, peer: G) -> None:
        """Forget a peer and what it was about to have."""
        for index in self._of.pop(peer, ()):
            del self._pulled[index]
        self._distrusted.discard(peer)

    def puller(self, index: int) -> G | None:
        """Return who says that he pulls a chunk, if anybody does."""
        found = self._pulled.get(index)
        return None if found is None else found[0]

    def is_pulled(self, index: int, now: float, delay: float) -> bool:
        """Say whether somebody will have a chunk soon.

        `delay` is how many seconds a chunk takes us at the moment.
        """
        found = self._pulled.get(index)
        if found is None:
            return False
        peer, since = found
        if now - since <= max(PULL_TIME, 3 * delay):
            return True
        self.remove(peer)
        self._distrusted.add(peer)
        return False
