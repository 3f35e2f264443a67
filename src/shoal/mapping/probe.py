"""Find out which protocols a router speaks, all at once, and choose the best.

PCP comes first, then NAT-PMP, then UPnP. A better one that has not answered yet is
awaited for a moment only.
"""

import asyncio
from collections.abc import Coroutine
from typing import Self

from shoal.errors import RouterError
from shoal.mapping.base import Method
from shoal.mapping.methods import find_natpmp, find_pcp, find_upnp
from shoal.net.gateway import Gateway

__all__ = ["Probe", "searches_of"]

GRACE = 1.0  # seconds from the start in which a better protocol may still answer


def searches_of(
    gateway: Gateway, nonce: bytes, *, multicasts: bool
) -> dict[str, Coroutine[None, None, Method]]:
    """Return a search for each protocol, the preferred one first.

    Of IPv6, that is PCP only: NAT-PMP has no IPv6, and routers accept a request by UPnP
    only at an HTTP server with an IPv6 address.
    """
    if ":" in gateway.address:
        return {"PCP": find_pcp(gateway, nonce)}
    return {
        "PCP": find_pcp(gateway, nonce),
        "NAT-PMP": find_natpmp(gateway),
        "UPnP": find_upnp(gateway, multicasts=multicasts),
    }


class Probe:
    """Run the searches; an async context manager, which ends them."""

    def __init__(self, searches: dict[str, Coroutine[None, None, Method]]) -> None:
        """Start searches by the names of their protocols, the preferred one first.

        What one raises other than `RouterError` is raised by `next`.
        """
        self.failures: dict[str, str] = {}
        """Why a protocol cannot be used, as the end of a sentence."""
        self._searches = {
            name: asyncio.create_task(each) for name, each in searches.items()
        }
        self._clock = asyncio.get_running_loop().time
        self._decides_at = self._clock() + GRACE

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for search in self._searches.values():
            search.cancel()
        await asyncio.gather(*self._searches.values(), return_exceptions=True)

    async def next(self) -> Method | None:
        """Return the best method that was not returned yet; None if there is none."""
        while True:
            answered = self._answered()
            if not self._searches:
                return None
            wait = max(0.0, self._decides_at - self._clock()) if answered else None
            if wait == 0.0 or next(iter(self._searches)) in answered:
                chosen = next(name for name in self._searches if name in answered)
                return self._searches.pop(chosen).result()
            await asyncio.wait(
                [each for each in self._searches.values() if not each.done()],
                timeout=wait,
                return_when=asyncio.FIRST_COMPLETED,
            )

    def _answered(self) -> set[str]:
        """Return the protocols that the router speaks; forget those it does not."""
        for name, search in list(self._searches.items()):
            if search.done():
                try:
                    search.result()
                except RouterError as error:
                    self.failures[name] = str(error)
                    del self._searches[name]
        return {name for name, search in self._searches.items() if search.done()}
