"""Have ports of this node mapped by the router, in the background.

`Keeper` keeps one port mapped: it finds the router, maps, renews, and starts again.
`Mapper` owns a `Keeper` and its task for each port, and another one for IPv6, by which
the firewall of the router lets connections to the port in. Nothing waits for it. A
router that answers nonsense, late or never costs a few packets every hour.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.report.status import PortMapping
from shoal.errors import RouterError
from shoal.mapping.base import Method
from shoal.mapping.methods import Probe, searches_of
from shoal.mapping.packets import NONCE_SIZE
from shoal.net.gateway import Gateway, find_gateway

__all__ = ["MAX_PORTS", "Keeper", "Mapper", "renewal_wait"]

# A router may grant seconds only, to have us send without end.
LEAST_WAIT = 60.0  # seconds to the next renewal, at least
# A router that has restarted has forgotten its mappings, and most do not say so.
MOST_WAIT = 600.0  # the same, at most
RETRY = (120.0, 3600.0)  # seconds to the second attempt, and to later ones at most

NO_ROUTER = "No router was found that translates an address of this machine."


class Keeper:
    """Keep one TCP port mapped, for as long as `run` runs."""

    def __init__(
        self,
        port: int,
        *,
        find: Callable[[], Gateway | None],
        multicasts: bool,
        on_change: Callable[[], None],
    ) -> None:
        """Map `port` by the router that `find` returns.

        With `multicasts`, a search by UPnP also goes to the multicast group.
        `on_change` is called when `mapping` has changed.
        """
        self.mapping: PortMapping | None = None
        """The mapping, None while there is none."""
        self.problem: str | None = None
        """Why there is none, as a sentence; None before that is known."""
        self.has_tried = asyncio.Event()
        """Set once the first attempt has succeeded or failed."""
        self._port = port
        self._find = find
        self._multicasts = multicasts
        self._on_change = on_change
        self._is_due = asyncio.Event()
        self._nonce = os.urandom(NONCE_SIZE)
        # Asked for last: what to give back even if its answer never came.
        self._method: Method | None = None
        self._wanted = port

    def restart(self) -> None:
        """Ask again now: addresses have changed, or this machine was asleep."""
        self._is_due.set()

    async def run(self) -> None:
        """Keep the port mapped until cancelled."""
        wait, most = RETRY
        while True:
            gateway = self._find()
            if gateway is None:
                self.problem = NO_ROUTER
            else:
                try:
                    await self._hold(gateway)
                except RouterError as error:
                    self.problem = (
                        f"The router at {gateway.address} maps no port: {error}."
                    )
                if self.mapping is not None:  # until now
                    self._set(None)
                    wait = RETRY[0]
                    continue
            self.has_tried.set()
            wait = RETRY[0] if await self._sleep(wait) else min(2 * wait, most)

    async def give_back(self) -> None:
        """Remove the mapping from the router, if it was asked for one."""
        if self._method is not None:
            with suppress(RouterError):
                await self._method.unmap(self._port, self._wanted)

    async def _sleep(self, seconds: float) -> bool:
        """Wait; return True as soon as `restart` is called."""
        try:
            async with asyncio.timeout(seconds):
                await self._is_due.wait()
        except TimeoutError:
            return False
        self._is_due.clear()
        return True

    async def _hold(self, gateway: Gateway) -> None:
        """Map the port and renew that; return once there is another router.

        Raises `RouterError` if the router does not map it, or not any more.
        """
        method, lifetime = await self._map_by_any(gateway)
        while True:
            if await self._sleep(renewal_wait(lifetime)) and self._find() != gateway:
                self._method = None  # the old router is out of reach
                return
            lifetime = await self._map(method)

    async def _map_by_any(self, gateway: Gateway) -> tuple[Method, float]:
        """Map the port by the best protocol that works; return that, and the lifetime.

        Raises `RouterError`.
        """
        searches = searches_of(gateway, self._nonce, multicasts=self._multicasts)
        async with Probe(searches) as probe:
            while (method := await probe.next()) is not None:
                try:
                    return method, await self._map(method)
                except RouterError as error:
                    probe.failures[method.name] = str(error)
        # By several protocols it often fails for the same reason.
        reasons: dict[str, list[str]] = {}
        for name, reason in probe.failures.items():
            reasons.setdefault(reason, []).append(name)
        named = (f"{reason} ({', '.join(by)})" for reason, by in reasons.items())
        raise RouterError("; ".join(named))

    async def _map(self, method: Method) -> float:
        """Map the port or renew that; return for how many seconds."""
        self._method = method
        mapped = await method.map(self._port, self._wanted)
        self._wanted = mapped.outside.port
        self._set(PortMapping(self._port, mapped.outside, method.name))
        return mapped.lifetime

    def _set(self, mapping: PortMapping | None) -> None:
        before, self.mapping = self.mapping, mapping
        if mapping is not None:
            self.problem = None
        self.has_tried.set()
        if mapping != before:
            self._on_change()


def renewal_wait(lifetime: float) -> float:
    """Return how many seconds to wait before a mapping is renewed.

    `lifetime` is in seconds, 0 for a mapping without an end.
    """
    wait = lifetime / 2 if lifetime else MOST_WAIT
    return min(max(wait, LEAST_WAIT), MOST_WAIT)


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
