"""This node's part in the swarm of one sealed share, from joining to leaving.

A `Member` is announced on each network under the topic that the network has for the
share. Whether it uploads, downloads or only reads the manifest is decided by the user
of its `swarm`.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Self

from shoal.config.settings import Settings
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address
from shoal.core.names.address_scope import MIN_PORT, Scope, scope_of
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent
from shoal.net.interfaces import list_interfaces
from shoal.origin.readers import open_readers
from shoal.storage.store import ChunkReader
from shoal.swarm.registry import Holding, Registry
from shoal.swarm.swarm import Swarm
from shoal.transfer.dialler import Found
from shoal.transport.sealed.port import Port

__all__ = ["Member"]

LAN = "lan"
LOOKUP_TIME = 5.0  # seconds to resolve a name in a link


class Member:
    """Be in the swarm of one share; an async context manager."""

    def __init__(
        self,
        registry: Registry,
        link: Link,
        port: Port,
        *,
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
        yields: bool = False,
    ) -> None:
        """Prepare; a member that `yields` makes room for one that serves chunks."""
        self.link = link
        self.port = port.port
        """TCP port that this node is reached at."""
        self._registry = registry
        self._resources = registry.resources
        self._keys = link.keys
        self._sealed_port = port
        self._yields = yields
        self.swarm = Swarm(
            link.id,
            port.dialler(self._keys),
            registry.resources,
            node_id=port.node_id,
            port=port.port,
            sources=open_readers(link, registry.resources.settings),
            timeout=timeout,
            on_event=on_event,
            search=registry.resources.networks.search,
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sealed_port.register(self._keys, self.swarm.accept, yields=self._yields)
        self._registry.swarms.append((self.link.id, self.swarm))
        self._task = asyncio.create_task(self.swarm.run(self._find()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def until_left(self) -> None:
        """Wait until the swarm is left; raise the error if it fails before."""
        task = self._task
        if task is not None:
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def aclose(self) -> None:
        """Leave the swarm; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            self._sealed_port.unregister(self._keys, self.swarm.accept)
            self._registry.swarms.remove((self.link.id, self.swarm))
            if not self._yields:
                self._registry.holdings.pop(self.link.id, None)
            try:
                await self.swarm.leave()
            finally:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.exception()  # every caller that waited has had it

    def hold(self, manifest: Manifest, store: ChunkReader) -> None:
        """Let readers on this node use the chunks in `store`, until we leave."""
        self._registry.holdings[self.link.id] = Holding(manifest, store)

    def _find(self) -> Iterable[Found]:
        yield usable_hints(self.link.hints, self._resources.settings)
        for network in self._resources.networks.discovery():
            is_lan = network.name == LAN
            topic = self._keys.lan_topic if is_lan else self._keys.dht_topic
            yield self._resources.join(network, topic, self.port)


async def usable_hints(
    hints: Iterable[Address], settings: Settings
) -> AsyncGenerator[tuple[Address, str], None]:
    """Yield the addresses in a link that may be dialled, each with the source `hint`.

    The author of a link chose them and could point a crowd at any host. So only
    ordinary addresses are dialled, checked after names are resolved; and where the
    user restricts the networks, these restrictions hold and no name is resolved.
    """
    for hint in hints:
        for address in await _resolve(hint, settings):
            if address.port >= MIN_PORT and is_usable(address.host, settings):
                yield address, "hint"


def is_usable(host: str, settings: Settings) -> bool:
    """Return True if an address in a link may be dialled, given as IPv4 address."""
    scope = scope_of(host)
    if scope is Scope.NONE or (scope is Scope.LOOPBACK and not settings.interfaces):
        return False
    if not _is_confined(settings):
        return True
    networks = list_interfaces(settings.interfaces)
    return any(each.is_on_subnet(host) for each in networks)


def _is_confined(settings: Settings) -> bool:
    return settings.lan_only or bool(settings.interfaces)


async def _resolve(hint: Address, settings: Settings) -> list[Address]:
    if scope_of(hint.host) is not Scope.NONE or _is_confined(settings):
        return [hint]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_TIME):
            found = await loop.getaddrinfo(
                hint.host, hint.port, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError, TimeoutError):
        return []
    return [Address(str(each[4][0]), hint.port) for each in found]
