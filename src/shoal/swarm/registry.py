"""The sealed shares of one node: its port, its swarms and the stores it can read from.

`Registry` owns the port that all sealed shares of the node use, which is opened when
the first share needs it.
"""

from typing import TYPE_CHECKING, NamedTuple

from shoal.core.manifest.manifest import Manifest
from shoal.core.report.status import ShareStatus
from shoal.resources import Resources
from shoal.storage.store import ChunkReader
from shoal.transport.sealed.port import Port

if TYPE_CHECKING:
    from shoal.swarm.swarm import Swarm

__all__ = ["Holding", "Registry"]


class Holding(NamedTuple):
    """The chunks that this node has of one share, for its own readers."""

    manifest: Manifest
    store: ChunkReader


class Registry:
    """Know every sealed share that this node shares or fetches."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.holdings: dict[bytes, Holding] = {}
        """What is shared or being fetched, by share id."""
        self.swarms: list[tuple[bytes, Swarm]] = []
        """The swarms that this node is in, each with its share id."""
        self._port: Port | None = None

    async def port(self) -> Port:
        """Return the node's one port for sealed shares; open it when first used.

        Raises `NetworkError` if it cannot be opened.
        """
        if self._port is None:
            resources = self.resources
            hosts = resources.networks.hosts()
            self._port = Port(hosts, resources.settings.port)
            resources.owned.push_async_callback(self._port.aclose)
        return self._port

    def status(self, share_id: bytes, reading: frozenset[int]) -> ShareStatus:
        """Return the state of a share, in all of its swarms and stores together.

        `reading` are the chunks that its readers wait for, or read last.
        """
        swarms = [s.status() for i, s in self.swarms if i == share_id]
        holding = self.holdings.get(share_id)
        known = [s for s in swarms if s.have is not None] or swarms
        return ShareStatus(
            next((s.manifest for s in known if s.manifest is not None), None),
            holding.store.have if holding else next((s.have for s in known), None),
            frozenset[int]().union(*(s.requested for s in swarms)),
            reading,
            tuple(peer for s in swarms for peer in s.peers),
        )
