"""Have ports of this node mapped by the router, in the background.

`Mapper` owns a `Keeper` and its task for each port, and another one for IPv6, by which
the firewall of the router lets connections to the port in. Nothing waits for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.report.status import PortMapping
from shoal.mapping.keeper import Keeper
from shoal.net.gateway import Gateway, find_gateway

__all__ = ["MAX_PORTS", "Mapper"]

MAX_PORTS = 8  # ports mapped at once; some routers have room for a hundred only
GIVE_BACK = 0.5  # seconds to give all mappings back at the end


class Mapper:
    """Map any number of ports, and keep them mapped."""

    def __init__(
        self,
        *,
        interfaces: Sequence[str],
        multicasts: bool,
        on_change: Callable[[], None],
    ) -> None:
        """Use the router behind one of the `interfaces`, or any if none are named.

        With `multicasts`, a search by UPnP also goes to the multicast group.
        `on_change` is called when `mappings` has changed.
        """
        self._interfaces = interfaces
        self._multicasts = multicasts
        self._on_change = on_change
        self._keepers: dict[tuple[int, bool], Keeper] = {}  # by port, and if of IPv6
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def mappings(self) -> tuple[PortMapping, ...]:
        """Return every port that is mapped now."""
        return tuple(each.mapping for each in self._keepers.values() if each.mapping)

    @property
    def problem(self) -> str | None:
        """Return why a port is not mapped, as a sentence; None if all are.

        By IPv6, most machines need no router that maps ports, or have none.
        """
        for (port, is_ipv6), keeper in self._keepers.items():
            other = self._keepers[port, not is_ipv6]
            if not is_ipv6 and keeper.problem and other.mapping is None:
                return keeper.problem
        return None

    def add(self, port: int) -> None:
        """Map a TCP port of this machine from now on; idempotent."""
        if (port, False) in self._keepers or len(self._keepers) >= 2 * MAX_PORTS:
            return
        for is_ipv6 in (False, True):
            keeper = self._keepers[port, is_ipv6] = Keeper(
                port,
                find=partial(self._find, is_ipv6=is_ipv6),
                multicasts=self._multicasts,
                on_change=self._on_change,
            )
            task = asyncio.create_task(keeper.run(), name=f"mapping of port {port}")
            self._tasks.append(task)

    def restart(self) -> None:
        """Ask the router again: addresses have changed, or this machine was asleep."""
        for keeper in self._keepers.values():
            keeper.restart()

    async def until_tried(self) -> None:
        """Wait until the first attempt for each port has succeeded or failed."""
        for keeper in self._keepers.values():
            await keeper.has_tried.wait()

    async def aclose(self) -> None:
        """Stop, and give every mapping back; idempotent. Takes `GIVE_BACK` at most."""
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_BACK):
                keepers = self._keepers.values()
                await asyncio.gather(*(each.give_back() for each in keepers))
        for task in tasks:
            if not task.cancelled():
                task.result()

    def _find(self, *, is_ipv6: bool) -> Gateway | None:
        """Return the router.

        None if we have no private IPv4 address that it translates, or no global IPv6
        address.
        """
        gateway = find_gateway(self._interfaces, is_ipv6=is_ipv6)
        needed = Scope.GLOBAL if is_ipv6 else Scope.PRIVATE
        if gateway is None or scope_of(gateway.local) is not needed:
            return None
        return gateway
