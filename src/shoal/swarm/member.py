"""This node's part in the swarm of one sealed share, from joining to leaving.

Whether it seeds, leeches or only looks at the manifest is up to whoever uses its
`swarm`. It is announced on each network under that network's own topic.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Self

from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent
from shoal.origin.readers import open_readers
from shoal.resources import Means, Services
from shoal.storage.store import ChunkReader, Holding
from shoal.swarm.link_addresses import usable_hints
from shoal.swarm.swarm import SealedSwarm
from shoal.transfer.dialler import Found
from shoal.transport.sealed.port import Port

__all__ = ["Membership", "open_port"]

LAN = "lan"


class Membership:
    """Be in the swarm of one share; an async context manager."""

    def __init__(
        self,
        services: Services,
        link: Link,
        port: Port,
        *,
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
        yields: bool = False,
    ) -> None:
        """Prepare; who `yields` makes room for a membership that gives something."""
        self.link = link
        self.port = port.port
        """TCP port that this node is reached at."""
        self._services = services
        self._keys = link.keys
        self._sealed_port = port
        self._yields = yields
        self.swarm = SealedSwarm(
            link.id,
            port.dialler(self._keys),
            Means(
                node_id=port.node_id,
                port=port.port,
                threads=services.threads,
                rng=services.rng,
                pool=services.buffers,
                up=services.bucket,
                down=services.bucket_down,
                tally=services.tally,
            ),
            sources=open_readers(link, services.settings),
            timeout=timeout,
            on_event=on_event,
            on_notice=services.on_notice,
            search=services.networks.search,
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sealed_port.register(self._keys, self.swarm.accept, yields=self._yields)
        self._services.swarms.append((self.link.id, self.swarm))
        self._task = asyncio.create_task(self.swarm.run(self._find()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the swarm; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            self._sealed_port.unregister(self._keys, self.swarm.accept)
            self._services.swarms.remove((self.link.id, self.swarm))
            if not self._yields:
                self._services.holdings.pop(self.link.id, None)
            try:
                await self.swarm.leave()
            finally:
                task.cancel()
                await asyncio.wait([task])

    def hold(self, manifest: Manifest, store: ChunkReader) -> None:
        """Let readers on this node have what `store` has, until we leave."""
        self._services.holdings[self.link.id] = Holding(manifest, store)

    def _find(self) -> Iterable[Found]:
        yield usable_hints(self.link.hints, self._services.settings)
        for network in self._services.networks.discovery():
            is_lan = network.name == LAN
            topic = self._keys.lan_topic if is_lan else self._keys.dht_topic
            yield self._services.join(network, topic, self.port)


async def open_port(services: Services) -> Port:
    """Return the node's one port for sealed shares; opens it at first."""
    if services.sealed_port is None:
        port = await Port.open(services.networks.hosts(), services.settings.port)
        services.sealed_port = port
        services.owned.push_async_callback(port.aclose)
    return services.sealed_port
