"""A peer of a simulated swarm that sends wrong chunks; it has a host of its own."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import KnockMemory
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address
from shoal.core.wire.sealed_messages import Meeting, Peers
from shoal.errors import PeerError
from shoal.transport.sealed.dial import dial_sealed
from shoal.transport.sealed.proven import Factory
from tests.helpers.badholders import LIARS
from tests.helpers.holder import Holder, holding_of
from tests.simulator.dial_watch import VICTIMS
from tests.simulator.hosts import Host
from tests.simulator.loop import Process
from tests.simulator.network import Network
from tests.simulator.sockets import DIALLING

if TYPE_CHECKING:
    from tests.simulator.machine import SimMachine

__all__ = ["Liar"]

PORT = 4999
CALLS = 24  # times that it dials every node
CALL_PERIOD = 1.0  # seconds between them
CLAIMS = 60  # times that it names victims to every peer
CLAIM_PERIOD = 2.0  # seconds between them


class _Claims(Holder):
    """Claim all the time that victims are peers; serve no chunk."""

    number = 0  # of messages so far

    @property
    def bitfield(self) -> bytes:
        """Return that of a peer without a chunk."""
        return self.holding.some(())

    def claim(self) -> None:
        """Name victims to every peer: many hosts, and one more port of the first."""
        self.number += 1
        first = 50 * (self.number % 3)
        hosts = [f"{VICTIMS}{n}.1" for n in range(first, first + 50)]
        ports = [5000 + self.number % 20, 6000]
        messages = Peers([(each, 5000) for each in hosts]), Meeting(hosts[0], ports, 0)
        for talk in self.talks:
            if not talk.is_lost and not talk.transport.is_closing():
                talk.send(*messages)


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
        *,
        claims: bool = False,
    ) -> None:
        """Serve wrong chunks of the share with these keys; `data` are its bytes.

        If it `claims`, it has no chunks, and names victims as its peers.
        """
        self.host = host
        self.process = process
        self.node_id = network.rng.randbytes(16)
        size = manifest.chunks.chunk_size
        holding = holding_of(manifest, lambda i: data[i * size : (i + 1) * size])
        kind: type[Holder] = _Claims if claims else network.rng.choice(LIARS)
        self._holder = kind(holding, self.node_id)
        self._holder.keeps_chunks = False
        self._knock = keys.psk
        self._keys, self._network = keys, network
        self.knocks = KnockMemory()
        host.listening[PORT] = self
        network.hosts.append(host)
        for topic in (keys.lan_topic, keys.dht_topic):
            network.announce(topic, host, PORT, process)
        network.trace("liar", kind.__name__)

    def call(self, machines: "list[SimMachine]") -> None:
        """Dial every node, again and again for a while."""
        self.process.spawn(self._call(machines), f"{self.host.name} call")

    async def _call(self, machines: "list[SimMachine]") -> None:
        for _ in range(CALLS):
            for machine in machines:
                if machine.port is not None:
                    other = machine.host
                    is_near = other.site is self.host.site
                    host = other.addresses[0] if is_near else other.outside
                    address = Address(host, machine.port.port)
                    with suppress(PeerError):
                        await self._dial(address)
            await asyncio.sleep(CALL_PERIOD)

    def claim(self) -> None:
        """Claim again and again for a while that victims are peers."""
        self.process.spawn(self._claim(), f"{self.host.name} claim")

    async def _claim(self) -> None:
        assert isinstance(self._holder, _Claims)
        for _ in range(CLAIMS):
            self._holder.claim()
            await asyncio.sleep(CLAIM_PERIOD)

    async def _dial(self, address: Address) -> None:
        DIALLING.set((self, self._knock))
        await dial_sealed(address, self._keys, self.node_id, self._holder.accept)

    def factory(self, knock: bytes) -> Factory | None:
        """Return what makes the connections of its share."""
        return self._holder.accept if knock == self._knock else None
