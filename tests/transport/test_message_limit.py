"""A peer that floods us with messages is read slowly; other peers are not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import Struct

from shoal.core.limits import MAX_PAUSE, MAX_PAUSES, MESSAGE_BURST
from shoal.core.wire.messages import encode_frame
from shoal.core.wire.sealed_messages import (
    Cancel,
    Have,
    Hello,
    Page,
    Peers,
    SealedRequest,
)
from tests.helpers.holder import Talk
from tests.helpers.memory_net import Member, MemoryTransport, memory_net
from tests.helpers.memory_peers import CONTENT, MANIFEST, fetch, source, talk_to
from tests.helpers.virtual_time import virtual_time

UNKNOWN = b"\x0b\x82\xa4type\xa1x\xa1y\xc0"
TIME = 15  # seconds
MANY = 200_000  # messages
ONE_READ = 30_000  # messages


def frames(*messages: Struct) -> bytes:
    return b"".join(map(encode_frame, messages))


@pytest.mark.parametrize(
    "said",
    [
        UNKNOWN,
        frames(Hello(0)),
        frames(SealedRequest(3), Cancel(3)),
        frames(
            SealedRequest(CONTENT.count - 1),
            Cancel(CONTENT.count - 1),
            Page("hashes", 0, 0),
        ),
        frames(Peers([])),
        frames(Have([(0, CONTENT.count)])),
    ],
    ids=["unknown", "hello", "cancel", "page", "peers", "have"],
)
@virtual_time
async def test_a_flooding_peer_is_read_slowly(said: bytes) -> None:
    async with memory_net() as net:
        member, other = source(net), net.join(MANIFEST.id)
        member.begin()
        peer = talk_to(net, member)
        peer.send(Hello(0, MANIFEST.root_record, bytes(5)))
        peer.transport.write(said * MANY)
        other.begin(member)
        await fetch(other)
        await asyncio.sleep(TIME)
        flooders = [
            p for p in member.swarm.peers if p.source == "incoming" and not p.port
        ]
        (connection,) = (each.connection for each in flooders)
        # One read may exceed the limit by what it holds.
        reads = 2 + TIME / MAX_PAUSE
        assert (
            MESSAGE_BURST
            < connection.session.unpaid_messages
            < MESSAGE_BURST + ONE_READ * reads
            < MANY
        )
        assert not peer.is_lost


@asynccontextmanager
async def flooding_peer() -> AsyncIterator[tuple[Talk, Member]]:
    """Connect a peer that sends far too many messages to a member without others."""
    async with memory_net() as net:
        member = source(net)
        member.begin()
        peer = talk_to(net, member)
        peer.send(Hello(0))
        peer.transport.write(UNKNOWN * MANY)
        yield peer, member


@virtual_time
async def test_the_messages_of_a_flooding_peer_that_hung_up_are_dropped() -> None:
    async with flooding_peer() as (peer, member):
        await asyncio.sleep(1)
        assert member.swarm.peers
        assert isinstance(peer.transport, MemoryTransport)
        peer.transport.hang_up()
        await asyncio.sleep(MAX_PAUSE)
        assert not member.swarm.peers


@virtual_time
async def test_a_peer_that_keeps_flooding_is_disconnected() -> None:
    """Unread messages would hide that the peer has hung up."""
    async with flooding_peer() as (peer, member):
        await asyncio.sleep((MAX_PAUSES + 1) * MAX_PAUSE)
        assert peer.is_lost
        assert not member.swarm.peers
