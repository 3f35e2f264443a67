"""The one TCP port of a node that serves all its sealed shares.

`Port` is the listener and owns this process's node id; it also dials with that, so that
a node which dials itself notices.
"""

import asyncio
import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakSet

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import NODE_ID_SIZE
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.net.ports import bind_port
from shoal.transport.sealed.bound import share_port
from shoal.transport.sealed.dial import dial_sealed, meet_sealed
from shoal.transport.sealed.knocking import Knocking
from shoal.transport.sealed.listen import SealedListener, _Share
from shoal.transport.sealed.proven import Dial, Factory, ProvenPeer

if TYPE_CHECKING:
    from shoal.transport.quic.endpoint import SendTo
    from shoal.transport.sealed.by_udp import UdpPeers

__all__ = ["Port"]

# As long as Linux lets the answers to a SYN in through a NAT.
ASIDE_TIME = 120.0  # seconds for which a port aside is listened on after a dial from it
MAX_ASIDES = 64  # ports
MAX_MET = 1024  # hosts that are remembered to have been peers

_Asides: TypeAlias = "dict[int, tuple[list[asyncio.Task[None]], asyncio.TimerHandle]]"


class Port(SealedListener):
    """Accept and dial holders of our shares."""

    def __init__(
        self, hosts: Sequence[str], port: int, threads: Executor | None = None
    ) -> None:
        """Listen at `port` of all `hosts`; raise as `bind_all` does.

        Large amounts of data are encrypted in `threads`.
        """
        self.node_id = os.urandom(NODE_ID_SIZE)
        """16 random bytes, new in every process."""
        self.number: Callable[[int], int] = int
        """Returns the number of our TCP port on the internet."""
        self._asides: _Asides = {}
        self._met: OrderedDict[str, None] = OrderedDict()  # the latest last
        self._crossed: WeakSet[Knocking] = WeakSet()  # the handshakes of these go on
        self._udp: UdpPeers | None = None
        super().__init__(self.node_id, hosts=hosts, port=port, threads=threads)

    def dialler(self, keys: Keys) -> Dial:
        """Return a function that connects to other holders of a share."""

        async def dial(address: Address, factory: Factory) -> None:
            def make(proven: ProvenPeer) -> asyncio.BufferedProtocol:
                self.note_met(proven.address.host)
                return factory(proven)

            by_tcp = dial_sealed(
                address,
                keys,
                self.node_id,
                make,
                threads=self.threads,
                knocks=self.knocks,
                port=self,
            )
            if self._udp is None or scope_of(address.host) is not Scope.GLOBAL:
                await by_tcp
            else:
                await self._udp.dial(by_tcp, address, keys, factory)

        return dial

    def note_met(self, host: str) -> None:
        """Note that a holder of one of our shares is connected, at an IP address."""
        self._met[host] = None
        self._met.move_to_end(host)
        if len(self._met) > MAX_MET:
            self._met.popitem(last=False)

    def has_met(self, host: str) -> bool:
        """Return True if a holder of one of our shares has been connected there."""
        return host in self._met

    def use_udp(
        self, send: "SendTo", is_changing: Callable[[], bool]
    ) -> Callable[[bytes, int, Address], bool]:
        """Dial and accept by UDP as well, over a socket that `send` sends from.

        Returns what takes its datagrams: bytes, the size of each but the last, and the
        source; it returns False for those of others. `is_changing` returns True if our
        NAT is known to change ports.
        """
        from shoal.transport.sealed.by_udp import UdpPeers

        self._udp = UdpPeers(self, send, is_changing)
        return self._udp.on_datagrams

    async def meet(
        self,
        relay: Address,
        keys: Keys,
        factory: Factory,
        on_met: Callable[[], None],
        name: bytes | None = None,
    ) -> None:
        """Connect at a relay as `meet_sealed` does, by default named by the node id."""
        await meet_sealed(self, relay, keys, factory, on_met, name or self.node_id)

    def on_unopened(self, knocking: Knocking, knock: bytes) -> None:
        """Find out whether a peer that we dial dials us for another of our shares."""
        self._run(self._take_unopened(knocking, knock), None)

    async def _take_unopened(self, knocking: Knocking, knock: bytes) -> None:
        found = await self._recognise(knock)
        if found is None:
            knocking.on_no_share()
            return
        share, opened = found

        def begin(proven: ProvenPeer) -> asyncio.BufferedProtocol:
            self._crossed.discard(knocking)
            return self._pass_to(share, proven)

        # If we are the server now, no dial waits for the end of the handshake.
        self._crossed.add(knocking)
        knocking.cross(opened, begin)

    def listen_aside(self, port: int) -> None:
        """Accept connections at a port aside, too, for `ASIDE_TIME` from now on."""
        tasks, timer = self._asides.pop(port, ([], None))
        if timer is not None:
            timer.cancel()
        elif len(self._asides) == MAX_ASIDES:
            return
        else:
            tasks = self._open_aside(port)
        timer = self._loop.call_later(ASIDE_TIME, self._end_aside, port)
        self._asides[port] = tasks, timer

    def _open_aside(self, port: int) -> "list[asyncio.Task[None]]":
        try:
            sockets = bind_port(list(self._accepting), port)
        except OSError:  # another program has the port
            return []
        return [self._accept(each) for each in sockets.values()]

    def _end_aside(self, port: int) -> None:
        tasks, timer = self._asides.pop(port)
        timer.cancel()
        for task in tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Stop accepting, at the ports aside and by UDP as well; idempotent."""
        for port in list(self._asides):
            self._end_aside(port)
        for knocking in list(self._crossed):
            knocking.abort()
        if self._udp is not None:
            self._udp.close()
        await super().aclose()

    def _pass_to(self, share: _Share, peer: ProvenPeer) -> asyncio.BufferedProtocol:
        self.note_met(peer.address.host)
        return super()._pass_to(share, peer)

    def _accept(self, listening: socket.socket) -> "asyncio.Task[None]":
        share_port(listening)
        return super()._accept(listening)
