"""Messages that no honest peer sends, from a peer that has proven the id.

The limits are in bytes, so no test depends on time.
"""

import asyncio
import os
from collections.abc import Callable

import pytest

from shoal.core.limits import OVERHEAD_LIMIT
from shoal.core.wire.noise_messages import MAX_PAYLOAD
from tests.helpers.crafted import Crafted, crafted
from tests.helpers.sealed import KEYS, PATIENCE, open_sealed

MANY = 20_000  # messages


async def test_too_many_messages_of_one_byte_end_the_connection() -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as peer:
        data = b"".join(peer.message(b"x") for _ in range(MANY))
        assert len(data) > 4 * OVERHEAD_LIMIT
        await peer.send(data)
        await peer.until_lost()
        await (await sealed.first()).until_lost()
        # The limit was exceeded long before the last message.
        assert len((await sealed.first()).received) < MANY / 2


async def test_an_abused_node_serves_others() -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as peer:
        sealed.echo = True
        data = b"".join(peer.message(b"x") for _ in range(MANY))
        abusing = asyncio.create_task(peer.send(data))
        plain = await sealed.dial()
        plain.transport.write(b"hello")
        assert await plain.until(5) == b"hello"
        plain.transport.abort()
        await abusing


@pytest.mark.parametrize("size", [1, 16, 22, 100, MAX_PAYLOAD])
async def test_messages_of_any_size_are_accepted(size: int) -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as peer:
        sent = b""
        for _ in range(1000 if size < 1000 else 20):
            piece = os.urandom(size)
            assert await peer.send(peer.message(piece))
            sent += piece
        assert await (await sealed.first()).until(len(sent)) == sent


async def test_messages_may_arrive_in_any_pieces() -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as peer:
        sent = os.urandom(300)
        data = peer.message(sent[:1]) + peer.message(sent[1:])
        for place in range(len(data)):
            await peer.send(data[place : place + 1])
            await asyncio.sleep(0)
        assert await (await sealed.first()).until(300) == sent


def flipped(peer: Crafted) -> bytes:
    message = bytearray(peer.message(b"hello"))
    message[-1] ^= 1
    return bytes(message)


def flipped_length(peer: Crafted) -> bytes:
    message = bytearray(peer.message(b"hello") + peer.message(b"again"))
    message[1] ^= 1
    return bytes(message)


def repeated(peer: Crafted) -> bytes:
    return peer.message(b"first") * 2


def reordered(peer: Crafted) -> bytes:
    first, second = peer.message(b"first"), peer.message(b"second")
    return second + first


def dropped(peer: Crafted) -> bytes:
    peer.message(b"first")
    return peer.message(b"second")


def reflected(peer: Crafted) -> bytes:
    """Return a message with the key of the other direction."""
    message = peer.ciphers.receive.encrypt(b"hello")
    return len(message).to_bytes(2, "big") + message


def without_a_tag(peer: Crafted) -> bytes:
    return b"\x00\x0f" + bytes(15)


def of_no_length(peer: Crafted) -> bytes:
    return bytes(2000)


WRONG = [
    flipped,
    flipped_length,
    repeated,
    reordered,
    dropped,
    reflected,
    without_a_tag,
    of_no_length,
]


@pytest.mark.parametrize("make", WRONG)
async def test_a_message_that_was_not_sent_like_that_ends_the_connection(
    make: Callable[[Crafted], bytes],
) -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as peer:
        await peer.send(make(peer))
        await peer.until_lost()
        await (await sealed.first()).until_lost()
        assert bytes((await sealed.first()).received) in (b"", b"first")


async def test_a_peer_that_ends_its_stream_is_sent_nothing_more() -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as peer:
        owed = bytes(64 << 20)
        (await sealed.first()).transport.write(owed)
        await peer.send(peer.message(b""))
        assert await peer.until_lost() < len(owed)
        await (await sealed.first()).until_lost()


@pytest.mark.parametrize("end", ["end message", "forged end", "cut off"])
async def test_an_end_that_the_peer_did_not_send_is_told_apart(end: str) -> None:
    """Only a stream that the peer has ended calls `eof_received` before the loss."""
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as peer:
        served = await sealed.first()
        ended: list[str] = []
        served.eof_received = lambda: ended.append("eof")  # type: ignore[method-assign]
        await peer.send(peer.message(b"hello"))
        assert await served.until(5) == b"hello"
        if end == "end message":
            await peer.send(peer.message(b""))
        elif end == "forged end":
            await peer.send(b"\x00\x10" + bytes(16))
        else:
            peer.hang_up()
        async with asyncio.timeout(PATIENCE):
            await served.until_lost()
        assert ended == (["eof"] if end == "end message" else [])
