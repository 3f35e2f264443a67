"""Two nodes connect by QUIC over loopback, as they do behind NATs."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from shoal.core.crypto.keys import Keys
from shoal.core.names.address import Address
from shoal.errors import NotAHolderError, PeerError, ShoalError
from shoal.transport.datagrams import BatchSocket
from shoal.transport.sealed.by_udp import UdpPeers
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import ProvenPeer
from tests.helpers.sealed import KEYS, OTHER_KEYS, Plain

UNREACHED = PeerError("no answer by TCP")
UNREACHED.__cause__ = OSError()


class Node:
    """A port, and a UDP socket as the DHT has one; counts what it is sent."""

    def __init__(self) -> None:
        self.port = Port(["127.0.0.1"], 0)
        self.accepted: list[Plain] = []
        self.sent: list[bytes] = []
        self.other: list[bytes] = []
        self.loses: Callable[[bytes], bool] = lambda datagram: False
        self.udp = UdpPeers(self.port, self._send, lambda: True)
        self.socket = BatchSocket("127.0.0.1", 0, self._on_datagrams)
        self.address = Address("127.0.0.1", self.socket.local_port)

    def serve(self, proven: ProvenPeer) -> Plain:
        self.accepted.append(Plain(proven, echo=True))
        return self.accepted[-1]

    async def dial(
        self, other: "Node", keys: Keys = KEYS, tcp: ShoalError = UNREACHED
    ) -> Plain:
        made: list[Plain] = []

        def make(proven: ProvenPeer) -> Plain:
            made.append(Plain(proven))
            return made[-1]

        async def by_tcp() -> None:
            raise tcp

        await self.udp.dial(by_tcp(), other.address, keys, make)
        return made[0]

    def _send(self, datagrams: list[bytes], address: Address) -> None:
        kept = [each for each in datagrams if not self.loses(each)]
        self.sent += kept
        self.socket.send_many(kept, address)

    def _on_datagrams(self, data: bytes, segment: int, source: Address) -> None:
        if not self.udp.on_datagrams(data, segment, source):
            self.other.append(data)

    async def aclose(self) -> None:
        self.udp.close()
        await asyncio.sleep(0)
        self.socket.close()
        await self.port.aclose()


@asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[Node, Node]]:
    nodes = Node(), Node()
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.aclose()


async def test_bytes_go_both_ways_unchanged() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        plain = await one.dial(other)
        data = os.urandom(3 << 20)
        plain.transport.write(data)
        assert await plain.until(len(data)) == data
        assert plain.peer.is_udp and other.accepted[0].peer.is_udp
        assert plain.peer.node_id == other.port.node_id


async def test_of_two_that_dial_each_other_one_is_the_server() -> None:
    async with two_nodes() as (one, other):
        made = await asyncio.gather(one.dial(other), other.dial(one))
        assert sorted(each.peer.is_server for each in made) == [False, True]
        made[0].transport.write(b"hello")
        assert await made[1].until(5) == b"hello"
