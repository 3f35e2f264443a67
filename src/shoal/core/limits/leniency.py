"""How many handshakes of one host may come to nothing; pure.

Whoever has the link, or recorded a knock, can have us do the arithmetic of a TLS
handshake again and again and never prove anything. What is counted is only that:
however many peers there are on a host, those who prove the id cost it nothing. A host
that had its share gets no more than a few handshakes a second until it stops.
"""

from collections import OrderedDict
from collections.abc import Hashable

from shoal.core.names.address_scope import slot_of

__all__ = ["Leniency"]

BURST = 64.0  # handshakes in vain at once; those of a host that is merely busy
RATE = 10.0  # handshakes in vain per second; some milliseconds of work each
MAX_HOSTS = 1024  # remembered


class Leniency:
    """Remember which hosts began handshakes in vain, and how many lately."""

    def __init__(self, burst: float = BURST, rate: float = RATE) -> None:
        self._burst = burst
        self._rate = rate
        # How many in vain, less those that time has made good, and when it was so;
        # the host that failed last comes last.
        self._failed: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failed)

    def allows(self, host: str, now: float) -> bool:
        """Say whether a host may begin another handshake."""
        return self._count(_key(host), now) <= self._burst - 1

    def on_failed(self, host: str, now: float) -> None:
        """Note that a handshake with a host came to nothing."""
        key = _key(host)
        # What goes beyond is not held against it: once it stops, it may come again.
        count = min(self._count(key, now) + 1, self._burst)
        self._failed[key] = (count, now)
        self._failed.move_to_end(key)
        if len(self._failed) > MAX_HOSTS:
            self._failed.popitem(last=False)

    def _count(self, key: Hashable, now: float) -> float:
        count, since = self._failed.get(key, (0.0, now))
        return max(0.0, count - (now - since) * self._rate)


def _key(host: str) -> Hashable:
    """Return what a host is remembered by: on the internet, what is somebody's own."""
    slot = slot_of(host)
    return host if slot is None else slot
