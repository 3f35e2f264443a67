"""Two nodes connect by QUIC over loopback, as they do behind NATs."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from shoal.core.crypto.keys import Keys
from shoal.core.names.address import Address
from shoal.core.punches import Met
from shoal.errors import NotAHolderError, PeerError, ShoalError
from shoal.transport.datagrams import BatchSocket
from shoal.transport.quic import endpoint as quic_endpoint
from shoal.transport.quic.connection import WINDOW
from shoal.transport.quic.endpoint import ACCEPT_BURST
from shoal.transport.quic.stream import SEND_ROOM, QuicStream
from shoal.transport.sealed.by_udp import UdpPeers
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import ProvenPeer
from tests.helpers.sealed import KEYS, OTHER_KEYS, PATIENCE, Plain

UNREACHED = PeerError("no answer by TCP")
UNREACHED.__cause__ = OSError()


class Node:
    """A port, and a UDP socket as the DHT has one; counts what it is sent."""

    def __init__(self) -> None:
        self.port = Port(["127.0.0.1"], 0)
        self.accepted: list[Plain] = []
        self.sent: list[bytes] = []
        loop = asyncio.get_running_loop()
        self.left: list[bytes] = []
        self.until_left: asyncio.Future[None] = loop.create_future()
        self.until_served: asyncio.Future[Plain] = loop.create_future()
        self.until_quic: asyncio.Future[None] = loop.create_future()
        self.until_sent: asyncio.Future[None] = loop.create_future()
        self.loses: Callable[[bytes], bool] = lambda datagram: False
        self.udp = UdpPeers(self.port, self._send, lambda: True)
        self.socket = BatchSocket("127.0.0.1", 0, self._on_datagrams)
        self.address = Address("127.0.0.1", self.socket.local_port)

    def serve(self, proven: ProvenPeer) -> Plain:
        self.accepted.append(Plain(proven, echo=True))
        if not self.until_served.done():
            self.until_served.set_result(self.accepted[-1])
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
        if max(map(len, datagrams)) >= 1200 and not self.until_quic.done():
            self.until_quic.set_result(None)
        if not self.until_sent.done():
            self.until_sent.set_result(None)
        self.socket.send_many(kept, address)

    def _on_datagrams(self, data: bytes, segment: int, source: Address) -> None:
        if not self.udp.on_datagrams(data, segment, source):
            self.left.append(data)
            if not self.until_left.done():
                self.until_left.set_result(None)

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
        assert plain.peer.is_udp
        assert other.accepted[0].peer.is_udp
        assert plain.peer.node_id == other.port.node_id


async def test_of_two_that_dial_each_other_one_is_the_server() -> None:
    async with two_nodes() as (one, other):
        made = await asyncio.gather(one.dial(other), other.dial(one))
        assert sorted(each.peer.is_server for each in made) == [False, True]
        made[0].transport.write(b"hello")
        assert await made[1].until(5) == b"hello"


async def test_tcp_comes_first() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)

        async def by_tcp() -> None:
            await asyncio.sleep(0)

        await one.udp.dial(by_tcp(), other.address, KEYS, other.serve)
        assert one.sent == []


async def test_a_connection_that_the_peer_may_have_chosen_is_not_ended() -> None:
    """TCP connects while the handshake over UDP is under way."""
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        loop = asyncio.get_running_loop()
        plain: asyncio.Future[Plain] = loop.create_future()
        other.loses = lambda datagram: len(datagram) != 48  # until TCP has connected

        def make(proven: ProvenPeer) -> Plain:
            plain.set_result(Plain(proven))
            return plain.result()

        async def by_tcp() -> None:
            await one.until_quic

        await one.udp.dial(by_tcp(), other.address, KEYS, make)
        assert not plain.done(), "by TCP alone"
        other.loses = lambda datagram: False
        made = await plain
        made.transport.write(b"hello")
        assert await made.until(5) == b"hello"


async def test_a_node_that_answers_by_tcp_is_not_dialled_by_udp() -> None:
    async with two_nodes() as (one, other):
        with pytest.raises(NotAHolderError):
            await one.dial(other, tcp=NotAHolderError("another program"))
        assert one.sent == []


async def test_the_error_of_tcp_is_reported_if_neither_connects() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        await one.dial(other)
        with pytest.raises(PeerError, match="no answer by TCP"):
            await one.dial(other)  # that address is connected


async def test_a_node_without_the_share_sends_no_byte() -> None:
    async with two_nodes() as (one, other):
        other.port.register(OTHER_KEYS, other.serve)
        dialling = asyncio.create_task(one.dial(other))
        await other.until_left  # the knock is left to the DHT, which drops it
        dialling.cancel()
        await asyncio.wait([dialling])
        assert other.sent == []


async def test_packets_of_quic_from_a_stranger_are_not_answered() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        await one.dial(other)
        initial = next(each for each in one.sent if len(each) >= 1200)
        count = len(other.sent)
        stranger = Address("127.0.0.1", 9)
        assert not other.udp.on_datagrams(initial, len(initial), stranger)
        assert len(other.sent) == count


async def test_an_address_that_has_not_answered_is_sent_48_bytes() -> None:
    async with two_nodes() as (one, other):
        other.loses = lambda datagram: True
        other.port.register(KEYS, other.serve)
        dialling = asyncio.create_task(one.dial(other))
        await one.until_sent
        dialling.cancel()
        await asyncio.wait([dialling])
        assert [len(each) for each in one.sent] == [48]


async def test_a_lost_reply_is_sent_again() -> None:
    """The node that was dialled takes no packet of QUIC before it."""
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        lost: list[bytes] = []

        def loses(datagram: bytes) -> bool:
            is_reply = len(datagram) == 48 and bool(one.sent) and not lost
            lost.extend([datagram] * is_reply)
            return is_reply

        one.loses = loses
        plain = await one.dial(other)
        plain.transport.write(b"hello")
        assert await plain.until(5) == b"hello"
        assert lost


async def test_lost_datagrams_are_sent_again() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        plain = await one.dial(other)
        number = 0

        def loses(datagram: bytes) -> bool:
            nonlocal number
            number += 1
            return number % 20 == 0

        one.loses = other.loses = loses
        data = os.urandom(300_000)
        plain.transport.write(data)
        assert await plain.until(len(data)) == data


async def test_a_peer_that_does_not_read_is_granted_no_more_than_the_window() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        plain = await one.dial(other)
        served = await other.until_served
        served.transport.pause_reading()
        data = os.urandom(WINDOW + SEND_ROOM + (4 << 20))
        plain.transport.write(data)
        sent = -1
        while sent != len(one.sent):  # until nothing more is sent for a while
            sent = len(one.sent)
            await asyncio.sleep(0.3)
        assert plain.calls == ["pause"]
        assert sum(map(len, one.sent)) < WINDOW * 1.2
        served.transport.resume_reading()
        assert await plain.until(len(data)) == data
        assert plain.calls[-1] == "resume"


async def test_the_end_of_a_connection_reaches_the_peer_after_all_data() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        plain = await one.dial(other)
        data = os.urandom(1 << 20)
        plain.transport.write(data)
        plain.transport.close()
        served = await other.until_served
        await served.until_lost()
        assert bytes(served.received) == data
        await plain.until_lost()


async def test_an_aborted_connection_ends_at_the_peer_at_once() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        plain = await one.dial(other)
        plain.transport.abort()
        await (await other.until_served).until_lost()
        await plain.until_lost()
        again = await one.dial(other)
        again.transport.write(b"again")
        assert await again.until(5) == b"again"


async def test_a_peer_that_starts_anew_replaces_its_former_connection() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        first = await one.dial(other)
        served = await other.until_served
        one.loses = lambda datagram: True  # the process has died: no goodbye
        one.udp.close()
        await first.until_lost()
        one.loses = lambda datagram: False
        one.udp = UdpPeers(one.port, one._send, lambda: True)
        again = await one.dial(other)
        again.transport.write(b"again")
        assert await again.until(5) == b"again"
        await served.until_lost()


async def test_datagrams_that_are_not_quic_end_nothing() -> None:
    """Anyone can send in the name of another address."""
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        plain = await one.dial(other)
        for size in (1, 48, 100, 1200, 3000):
            other.udp.on_datagrams(os.urandom(size), size, one.address)
        plain.transport.write(b"hello")
        assert await plain.until(5) == b"hello"


@pytest.mark.parametrize("others", [[48], [1200], [48, 20]])
async def test_a_knock_that_the_kernel_has_joined_to_others_counts(
    others: list[int],
) -> None:
    """Linux joins datagrams of one source, if no later one is longer."""
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        receive = other.udp.on_datagrams

        def join(datagram: bytes, segment: int, source: Address) -> bool:
            if other.sent:
                return receive(datagram, segment, source)
            parts = [os.urandom(size) for size in others]
            parts.insert(1 if others[0] > 48 else 0, datagram)
            return receive(b"".join(parts), len(parts[0]), source)

        other.udp.on_datagrams = join  # type: ignore[assignment]
        plain = await one.dial(other)
        plain.transport.write(b"hello")
        assert await plain.until(5) == b"hello"


async def test_a_node_that_refuses_tcp_is_not_dialled_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be starting, and soon accept connections by TCP."""
    monkeypatch.setattr("shoal.transport.sealed.by_udp.REFUSED_TIME", 0.1)
    monkeypatch.setattr("shoal.transport.quic.endpoint.PUNCH_TIME", 1000.0)
    refused = PeerError("refused")
    refused.__cause__ = ConnectionRefusedError()
    async with two_nodes() as (one, other):
        other.loses = lambda datagram: True
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(PeerError, match="refused"):
                await one.dial(other, tcp=refused)
        assert [len(each) for each in one.sent] == [48]
        # Its knock is accepted, although the dial has ended.
        one.port.register(KEYS, one.serve)
        other.loses = lambda datagram: False
        assert (await other.dial(one)).peer.node_id == one.port.node_id


async def test_an_address_is_dialled_once_at_a_time() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        plain = await one.dial(other)  # after this, no minute passes between dials
        plain.transport.abort()
        await plain.until_lost()
        endpoint, other.loses = one.udp._endpoint, lambda datagram: True
        dials = []
        for _ in range(2):
            dial = endpoint.dial(other.address, KEYS.psk, lambda _: Quiet())
            dials.append(asyncio.create_task(dial))
            await asyncio.sleep(0)
            endpoint._punches.end(other.address, KEYS.psk)  # its time has just passed
        dials[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await dials[0]
        dials[1].cancel()
        with pytest.raises(PeerError):
            await dials[1]


async def test_a_closed_node_answers_no_knock() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        other.udp.close()
        dialling = asyncio.create_task(one.dial(other))
        await other.until_left
        dialling.cancel()
        await asyncio.wait([dialling])
        assert other.sent == []


class Quiet(asyncio.BufferedProtocol):
    """Neither send nor receive anything."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


@pytest.mark.parametrize("begins", [False, True])
async def test_a_connection_whose_stream_never_begins_ends(
    begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends no packet of QUIC, or connects and sends only pings."""
    monkeypatch.setattr("shoal.transport.quic.stream.OPEN_TIME", 0.2)
    monkeypatch.setattr("shoal.transport.quic.stream.PING_AFTER", 0.05)
    loop, server = asyncio.get_running_loop(), Quiet()
    streams: list[QuicStream] = []
    ended: list[bool] = []

    def begin(protocol: Quiet, *, is_client: bool) -> None:
        def send(datagrams: list[bytes]) -> None:
            for each in datagrams:
                loop.call_soon(streams[0 if is_client else 1].receive, each, len(each))

        address = Address("192.0.2.1", 1)
        on_end = partial(ended.append, is_client)
        stream = QuicStream(protocol, address, send, on_end, is_client=is_client)
        streams.append(stream)

    begin(server, is_client=False)
    if begins:
        begin(Quiet(), is_client=True)
    async with asyncio.timeout(PATIENCE):
        await server.lost
    assert False in ended


async def test_a_share_that_is_withdrawn_meanwhile_is_not_served() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        other.port.factory_of = lambda psk: None  # type: ignore[method-assign]
        plain = await one.dial(other)
        await plain.until_lost()
        assert not other.accepted


def meet_of(node: Node, host: str, count: int) -> int:
    """Have a node meet so many peers of a host; return how many it is connected with.

    They have only shown that they know the id, and send no packet of QUIC.
    """
    endpoint = node.udp._endpoint
    for port in range(5000, 5000 + count):
        endpoint._on_met(Met(Address(host, port), KEYS.psk, False, False))
    return sum(address.host == host for address in endpoint._accepted.values())


async def test_a_host_begins_so_many_connections_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each costs a handshake, before the peer has a place in a swarm."""
    monkeypatch.setattr(quic_endpoint, "ACCEPT_RATE", 1e-9)
    async with two_nodes() as (node, _):
        node.port.register(KEYS, node.serve)
        assert meet_of(node, "8.8.8.8", 200) == ACCEPT_BURST
        assert meet_of(node, "9.9.9.9", 1) == 1


async def test_a_host_with_every_place_keeps_no_other_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quic_endpoint, "ACCEPT_BURST", 1000.0)
    monkeypatch.setattr(quic_endpoint, "MAX_ACCEPTED", 20)
    async with two_nodes() as (node, _):
        node.port.register(KEYS, node.serve)
        assert meet_of(node, "9.9.9.9", 2) == 2
        assert meet_of(node, "8.8.8.8", 200) == 18
        assert meet_of(node, "7.7.7.7", 1) == 1
        assert meet_of(node, "9.9.9.9", 0) == 2
