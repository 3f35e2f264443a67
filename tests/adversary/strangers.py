"""Attacks on the port of a sharer by peers that cannot or do not prove the link.

Some cases use a valid knock or id, which eavesdroppers or holders have; none completes
the handshake. Each case checks that the sharer does not answer.
"""

import asyncio
import os
import resource
import socket
from collections.abc import Iterable
from contextlib import suppress

from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.knock import ANSWER_SIZE, KNOCK_SIZE, handshake_start
from shoal.core.names.address import Address
from shoal.errors import PeerError
from shoal.transport.sealed.dial import dial_sealed
from tests.adversary.greedy import Attack
from tests.helpers.crafted import (
    LOW_ORDER,
    Crafted,
    crafted,
    knocked,
    low_order_knock,
)
from tests.helpers.holder import Holding
from tests.helpers.relay import PlainRelay
from tests.helpers.sealed import Plain, answer_to, client_hello, make_knock

__all__ = ["STRANGERS"]

HALF_OPEN = 10_000  # connections, or as many as this process may have files
HOLD_TIME = 3.0  # seconds for which they stay open
SPARE_FILES = 64  # file descriptors that this process needs otherwise
DEADLINE = 12.0  # seconds after which no connection may be half-open
MESSAGES = 20_000  # that one attack sends


async def silence(holding: Holding, address: Address) -> None:
    async with asyncio.timeout(DEADLINE):
        assert await answer_to(address, b"") == b""


async def half_open(holding: Holding, address: Address) -> None:
    """Open very many connections and send nothing on them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(most, HALF_OPEN + SPARE_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    strangers: list[socket.socket] = []
    try:
        for _ in range(wanted - SPARE_FILES):
            strangers.append(socket.socket())
            strangers[-1].setblocking(False)
            strangers[-1].connect_ex(tuple(address))
            if len(strangers) % 100 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(HOLD_TIME)
    finally:
        for each in strangers:
            each.close()


async def garbage(holding: Holding, address: Address) -> None:
    said = [os.urandom(300) for _ in range(1000)]
    said += [b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-x\r\n", client_hello(), bytes(66)]
    await _all_unanswered(address, said)


async def another_id(holding: Holding, address: Address) -> None:
    """Knock with the key of another share."""
    keys = derive_keys(os.urandom(32))
    await _all_unanswered(address, [make_knock(keys) for _ in range(1000)])


async def knock_and_leave(holding: Holding, address: Address) -> None:
    """Send valid knocks, as a holder can, and close each connection at once."""
    for _ in range(1000):
        with socket.socket() as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, tuple(address))
            knock = make_knock(holding.link.keys)
            with suppress(OSError):
                await loop.sock_sendall(sock, knock)


async def replay(holding: Holding, address: Address) -> None:
    """Replay the bytes of a holder."""
    async with PlainRelay(address) as relay:
        keys = holding.link.keys
        plain = await dial_sealed(relay.address, keys, os.urandom(16), Plain)
        plain.transport.abort()
        said = bytes(relay.to_server)
    await _all_unanswered(address, [said, said[:KNOCK_SIZE], said[:300]] * 10)


async def wrong_confirmation(holding: Holding, address: Address) -> None:
    """Confirm right knocks wrongly, until the sharer refuses connections."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        for _ in range(1000):
            async with knocked(address, holding.link.keys) as (sock, _, _):
                with suppress(ConnectionError):
                    await loop.sock_sendall(sock, os.urandom(16))
                    assert await loop.sock_recv(sock, 1) == b""
        raise AssertionError("the sharer always answers")


async def drip_knock(holding: Holding, address: Address) -> None:
    knock = make_knock(holding.link.keys)
    await _drip(*await asyncio.open_connection(*address), knock)


async def drip_confirmation(holding: Holding, address: Address) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(make_knock(holding.link.keys))
    await reader.readexactly(ANSWER_SIZE)
    await _drip(reader, writer, bytes(16))


async def low_order_key(holding: Holding, address: Address) -> None:
    """Knock as a holder with a public key that makes any shared secret zero."""
    start = handshake_start(holding.link.keys)
    knocks = [low_order_knock(start, point) for point in LOW_ORDER]
    await _all_unanswered(address, knocks)


async def tiny_messages(holding: Holding, address: Address) -> None:
    """Send a hello and endless unknown messages, one byte in each Noise message."""
    async with crafted(address, holding.link.keys) as peer:
        said = b"\x12\x82\xa4type\xa5hello\xa4port\x00"
        said += b"\x0b\x82\xa4type\xa1x\xa1y\xc0" * (MESSAGES // 12)
        await _abuse(peer, [peer.message(bytes((byte,))) for byte in said])


async def empty_messages(holding: Holding, address: Address) -> None:
    """Send messages without payload: the first one ends the stream."""
    async with crafted(address, holding.link.keys) as peer:
        await _abuse(peer, [peer.message(b"") for _ in range(MESSAGES)])


async def shuffled_messages(holding: Holding, address: Address) -> None:
    """Send messages whose order does not fit their nonces."""
    async with crafted(address, holding.link.keys) as peer:
        messages = [peer.message(b"\x0b\x82\xa4type\xa1x\xa1y\xc0") for _ in range(9)]
        await _abuse(peer, messages[::-1])


STRANGERS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        silence,
        half_open,
        garbage,
        another_id,
        knock_and_leave,
        replay,
        wrong_confirmation,
        drip_knock,
        drip_confirmation,
        low_order_key,
        tiny_messages,
        empty_messages,
        shuffled_messages,
    )
}
"""All attacks during the handshake or with Noise messages, by name."""


async def _all_unanswered(address: Address, said: Iterable[bytes]) -> None:
    for each in said:
        assert await answer_to(address, each, end=True) == b""


async def _drip(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> None:
    """Send data slowly, so that its end would come after the deadline."""
    ended = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(DEADLINE):
            for place in range(len(data)):
                writer.write(data[place : place + 1])
                if (await asyncio.wait({ended}, timeout=0.5))[0]:
                    break
            with suppress(ConnectionError):
                assert await ended == b""
    finally:
        writer.transport.abort()


async def _abuse(peer: Crafted, messages: list[bytes]) -> None:
    """Send messages that must end the connection."""
    with suppress(PeerError):
        await peer.send(b"".join(messages))
    await peer.until_lost()
