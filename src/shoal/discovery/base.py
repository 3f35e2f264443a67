"""What every way of finding peers offers: join a topic, hear addresses.

Discovery only yields addresses, again and again as it hears them. Whom to dial,
how often, and what is a duplicate is decided by the peer book, not here.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

from shoal.core.names.address import Address

__all__ = ["TOPIC_SIZE", "Discovery"]

TOPIC_SIZE = 20  # bytes; a SHA-1, because that is what the mainline DHT takes


class Discovery(Protocol):
    """Find peers on one network (LAN, DHT, a fixed list)."""

    name: str
    """What this network is called in messages: `lan`, `dht`, `peer`."""
    problem: str | None
    """What does not work, and what still does, as a sentence for the user."""

    @property
    def reach(self) -> str:
        """Say where it looks, and how far it got: `the DHT (4 nodes answered)`."""
        ...

    def join(self, topic: bytes, port: int | None) -> AsyncGenerator[Address, None]:
        """Yield addresses of the topic's peers for as long as it is iterated.

        With a `port` this node is announced under the topic as well, until the
        iterator is closed. The same address may come many times. The iterator of
        a network that stays open never ends by itself.
        """
        ...

    async def aclose(self) -> None:
        """Release every socket; idempotent, ends all iterators."""
        ...
