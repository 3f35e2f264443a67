"""A node dials a peer that dials it at the same time, for another share of both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal.core.crypto.crossing import AnswerHandshake, DialHandshake
from shoal.core.crypto.knock import KNOCK_SIZE, KnockMemory, handshake_start
from shoal.core.crypto.noise import open_first
from shoal.core.names.address import Address
from shoal.errors import NotAHolderError, PeerError
from shoal.transport.sealed.dial import dial_sealed
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import ProvenPeer
from tests.helpers.sealed import KEYS, OTHER_KEYS, Plain

PATIENCE = 15.0  # seconds
PEER_ID = b"p" * 16


class Crossing:
    """A node that dials for one share, and a peer that knocks for another."""

    def __init__(self, node: Port, address: Address) -> None:
        self.node = node
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[Plain] = loop.create_future()
        self.searching = asyncio.Event()
        self._search = node._recognise
        node._recognise = self._recognise  # type: ignore[method-assign]
        node.register(OTHER_KEYS, self.accept)
        dial = dial_sealed(address, KEYS, node.node_id, Plain, port=node)
        self.dial = asyncio.create_task(dial)
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def _recognise(self, knock: bytes) -> Any:
        self.searching.set()
        return await self._search(knock)

    def accept(self, proven: ProvenPeer) -> Plain:
        self.accepted.set_result(Plain(proven))
        return self.accepted.result()

    async def knock(self, *, is_server: bool) -> DialHandshake:
        """Take the node's knock; return a handshake of the peer, with one of its own.

        The peer will be the server if `is_server`.
        """
        knock = await self.reader.readexactly(KNOCK_SIZE)
        while True:
            start = handshake_start(OTHER_KEYS)
            handshake = DialHandshake(start, PEER_ID, KnockMemory())
            if (handshake.knock > knock) is is_server:
                break
        opened = open_first(handshake_start(KEYS), knock)
        assert opened is not None
        assert handshake.receive(knock) == (b"", None)
        self.reply = handshake.cross(opened)
        return handshake


@asynccontextmanager
async def crossing() -> AsyncIterator[Crossing]:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    arrived = loop.create_future()
    server = await asyncio.start_server(
        lambda *streams: arrived.set_result(streams), "127.0.0.1", 0
    )
    node = Port(["127.0.0.1"], 0)
    made = Crossing(node, Address(*server.sockets[0].getsockname()))
    try:
        async with asyncio.timeout(PATIENCE):
            made.reader, made.writer = await arrived
            yield made
    finally:
        made.dial.cancel()
        await asyncio.wait([made.dial])
        await node.aclose()
        made.writer.close()
        server.close()


async def test_a_knock_may_arrive_together_with_the_answer_to_ours() -> None:
    async with crossing() as made:
        peer = await made.knock(is_server=True)
        made.writer.write(peer.knock + made.reply)
        _, greeted = peer.receive(await made.reader.readexactly(16))
        assert greeted is not None
        assert greeted.node_id == made.node.node_id
        assert (await made.dial).peer.node_id == PEER_ID


async def test_the_answer_may_arrive_while_the_share_of_a_knock_is_searched() -> None:
    async with crossing() as made:
        await made.node._trying.acquire()  # many knocks are tried before
        peer = await made.knock(is_server=True)
        made.writer.write(peer.knock)
        await made.searching.wait()
        made.writer.write(made.reply)
        await asyncio.sleep(0)
        made.node._trying.release()
        assert peer.receive(await made.reader.readexactly(16))[1] is not None


async def test_a_peer_without_a_share_of_ours_is_refused() -> None:
    async with crossing() as made:
        made.writer.write(bytes(KNOCK_SIZE + 1))
        with pytest.raises(NotAHolderError):
            await made.dial
        assert len(await made.reader.read()) == KNOCK_SIZE


async def test_of_two_that_dial_for_shares_that_the_other_lacks_each_ends_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither answers, and each might wait for an answer as long as for a slow peer."""
    monkeypatch.setattr("shoal.transport.sealed.knocking.REST_TIME", 0.1)
    async with crossing() as made:
        made.writer.write(bytes(KNOCK_SIZE))
        with pytest.raises(PeerError, match="hung up"):
            await made.dial
        assert len(await made.reader.read()) == KNOCK_SIZE


async def test_an_answer_may_arrive_in_two_parts() -> None:
    """Its first bytes are as long as a knock, and open with the key of no share."""
    async with crossing() as made:
        knock = await made.reader.readexactly(KNOCK_SIZE)
        peer = AnswerHandshake(handshake_start(KEYS), PEER_ID, KnockMemory())
        answer, _ = peer.receive(knock)
        ended = asyncio.Event()
        found = made.node._recognise

        async def recognise(knock: bytes) -> Any:
            try:
                return await found(knock)
            finally:
                ended.set()

        made.node._recognise = recognise  # type: ignore[method-assign]
        made.writer.write(answer[:KNOCK_SIZE])
        await ended.wait()
        made.writer.write(answer[KNOCK_SIZE:])
        assert (await made.dial).peer.node_id == PEER_ID


async def test_a_crossed_handshake_ends_with_the_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shoal.transport.sealed.knocking.DIAL_TIME", 1000.0)
    async with crossing() as made:
        peer = await made.knock(is_server=False)
        made.writer.write(peer.knock)
        with pytest.raises(PeerError, match="for another share"):
            await made.dial
        await made.node.aclose()
        await made.reader.read()  # up to the end of the connection


async def test_a_crossed_handshake_goes_on_for_the_other_share() -> None:
    async with crossing() as made:
        peer = await made.knock(is_server=False)
        made.writer.write(peer.knock)
        confirmation, greeted = peer.receive(await made.reader.readexactly(67))
        assert greeted is not None
        made.writer.write(confirmation)
        accepted = await made.accepted
        await made.node.aclose()
        assert not accepted.transport.is_closing()
        accepted.transport.abort()
