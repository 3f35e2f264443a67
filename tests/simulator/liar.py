"""A peer of a simulated swarm that sends wrong chunks; it has a host of its own."""

from shoal.core.crypto.keys import Keys
from shoal.core.manifest.manifest import Manifest
from shoal.transport.sealed.proven import Factory
from tests.helpers.badholders import LIARS
from tests.helpers.holder import holding_of
from tests.simulator.hosts import Host
from tests.simulator.loop import Process
from tests.simulator.network import Network

__all__ = ["Liar"]

PORT = 4999


class Liar:
    """Answer at a port of a host as a node does that has the whole share."""

    def __init__(
        self,
        network: Network,
        host: Host,
        process: Process,
        keys: Keys,
        manifest: Manifest,
        data: bytes,
    ) -> None:
        """Serve wrong chunks of the share with these keys; `data` are its bytes."""
        self.host = host
        self.process = process
        self.node_id = network.rng.randbytes(16)
        size = manifest.chunks.chunk_size
        holding = holding_of(manifest, lambda i: data[i * size : (i + 1) * size])
        kind = network.rng.choice(LIARS)
        self._holder = kind(holding, self.node_id)
        self._holder.keeps_chunks = False
        self._knock = keys.psk
        host.listening[PORT] = self
        network.hosts.append(host)
        for topic in (keys.lan_topic, keys.dht_topic):
            network.announce(topic, host, PORT, process)
        network.trace("liar", kind.__name__)

    def factory(self, knock: bytes) -> Factory | None:
        """Return what makes the connections of its share."""
        return self._holder.accept if knock == self._knock else None
