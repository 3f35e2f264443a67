"""The bitfield of a share with very many chunks travels in pieces."""

import asyncio
from collections.abc import Sequence

import pytest

from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunks import Bitfield
from shoal.core.wire.sealed_messages import (
    MAX_BITFIELD,
    BitfieldPiece,
    Have,
    Hello,
    SealedMessage,
    Want,
)
from tests.helpers.holder import Passive, Talk, holding_of
from tests.helpers.memory_net import Member, MemoryNet, memory_net
from tests.helpers.memory_store import MemoryStore
from tests.helpers.virtual_time import virtual_time

COUNT = 600_001  # chunks: more than fit into one message
SIZE = 16_384
MANIFEST = build_manifest("large", COUNT * SIZE, SIZE, bytes(32 * COUNT))
HOLDING = holding_of(MANIFEST, lambda index: b"")
FULL = bytes(Bitfield.full(COUNT))
FIRST, LAST = BitfieldPiece(FULL[:MAX_BITFIELD]), BitfieldPiece(FULL[MAX_BITFIELD:])
ROOT = MANIFEST.root_record
HELLO = Hello(5000, ROOT, b"")


def connect(net: MemoryNet) -> tuple[Member, Talk]:
    """Connect a peer that sends only what the test sends with a new member."""
    member = net.join(MANIFEST.id).begin()
    return member, net.call(Passive(HOLDING, b"r" * 16), member, "10.0.9.9")


@virtual_time
async def test_pieces_add_up_to_a_bitfield() -> None:
    async with memory_net() as net:
        member, peer = connect(net)
        peer.send(HELLO, FIRST)
        await asyncio.sleep(1)
        assert [each.have for each in member.swarm.peers] == [None]
        peer.send(LAST, Have([(5, 1)]))
        await asyncio.sleep(1)
        (have,) = [each.have for each in member.swarm.peers]
        assert have is not None
        assert have.is_complete
        assert not peer.is_lost


@virtual_time
async def test_a_node_sends_its_bitfield_in_pieces() -> None:
    async with memory_net() as net:
        member, peer = connect(net)
        store = MemoryStore(MANIFEST.chunks)
        store.have = Bitfield.full(COUNT)
        store.have.discard(COUNT - 1)
        member.swarm.serve(MANIFEST, store)
        await asyncio.sleep(1)
        hello, *pieces = peer.received[-3:]
        assert isinstance(hello, Hello)
        assert hello.bitfield == b""
        bits = b"".join(p.bits for p in pieces if isinstance(p, BitfieldPiece))
        assert Bitfield.from_bytes(bits, COUNT).count == COUNT - 1


@pytest.mark.parametrize(
    "messages",
    [
        (FIRST,),
        (Hello(5000), FIRST),
        (HELLO, LAST),
        (HELLO, BitfieldPiece(b"")),
        (HELLO, BitfieldPiece(FULL[: MAX_BITFIELD - 1])),
        (HELLO, FIRST, FIRST),
        (HELLO, FIRST, BitfieldPiece(FULL[MAX_BITFIELD:-1])),
        (HELLO, FIRST, BitfieldPiece(FULL[MAX_BITFIELD:-1] + b"\xff")),
        (HELLO, FIRST, LAST, LAST),
        (HELLO, FIRST, LAST, BitfieldPiece(b"")),
        (HELLO, HELLO),
        (HELLO, FIRST, HELLO),
        (HELLO, Have([(0, 1)])),
        (HELLO, FIRST, Have([(0, 1)])),
        (Hello(5000, ROOT, FULL[:MAX_BITFIELD]),),
        (Hello(5000, ROOT, FULL[:9]),),
    ],
    ids=range(16),
)
@virtual_time
async def test_other_pieces_end_the_connection(
    messages: Sequence[SealedMessage],
) -> None:
    async with memory_net() as net:
        _, peer = connect(net)
        peer.send(*messages)
        await asyncio.sleep(1)
        assert peer.is_lost


@virtual_time
async def test_work_on_all_chunks_counts_as_many_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with memory_net() as net:
        member, peer = connect(net)
        peer.send(HELLO, BitfieldPiece(bytes(MAX_BITFIELD)))
        peer.send(BitfieldPiece(bytes(len(FULL) - MAX_BITFIELD)))
        await asyncio.sleep(1)
        (seen,) = member.swarm.peers
        added: list[float] = []
        monkeypatch.setattr(seen.connection.message_limit, "add", added.append)
        few = Have([(2 * index, 1) for index in range(128)])
        many = Have([(10_000, 5_000)])
        peer.send(few, many, many)
        await asyncio.sleep(1)
        whole = COUNT / 16_384
        assert added == pytest.approx([2, 1 / 64 + whole, 1 / 64 + 50 + whole])


@virtual_time
async def test_a_peer_may_want_all_of_very_many_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with memory_net() as net:
        member, peer = connect(net)
        peer.send(HELLO, FIRST, LAST)
        # One chunk after the other would take seconds and gigabytes.
        monkeypatch.setattr(Bitfield, "add_run", None)
        peer.send(Want([(0, COUNT)]))
        await asyncio.sleep(1)
        (seen,) = member.swarm.peers
        assert seen.wanted is not None
        assert seen.wanted.is_complete
