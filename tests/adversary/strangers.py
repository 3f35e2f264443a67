"""Attacks on the port of a sharer by peers that cannot or do not prove the link.

Some cases use a valid knock or id, which eavesdroppers or holders have; none completes
the proofs. Each case checks that the sharer does not answer.
"""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.proof import GREETING_SIZE, make_knock
from shoal.core.names.address import Address
from shoal.errors import PeerError
from shoal.transport.sealed.port import dial_sealed
from shoal.transport.tls.certificate import client_context
from tests.adversary.greedy import Attack
from tests.helpers.crafted import CraftedTls, crafted
from tests.helpers.holder import Holding
from tests.helpers.relay import PlainRelay
from tests.helpers.sealed import Plain, answer_to, client_hello

__all__ = ["STRANGERS"]

HALF_OPEN = 10_000  # connections, or as many as this process may have files
HOLD_TIME = 3.0  # seconds for which they stay open
SPARE_FILES = 64  # file descriptors that this process needs otherwise
DEADLINE = 12.0  # seconds after which no connection may be half-open
RECORDS = 20_000  # TLS records that one attack sends


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
    said += [b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-x\r\n", client_hello(), bytes(48)]
    await _all_unanswered(address, said)


async def another_id(holding: Holding, address: Address) -> None:
    """Knock with the key of another share."""
    key = derive_keys(os.urandom(32)).knock
    knocks = [make_knock(key, os.urandom(16)) for _ in range(1000)]
    await _all_unanswered(address, [knock + client_hello() for knock in knocks])


async def knock_and_leave(holding: Holding, address: Address) -> None:
    """Send valid knocks, as a holder can, and close each connection at once."""
    for _ in range(1000):
        with socket.socket() as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, tuple(address))
            knock = make_knock(holding.link.keys.knock, os.urandom(16))
            with suppress(OSError):
                await loop.sock_sendall(sock, knock)


async def replay(holding: Holding, address: Address) -> None:
    """Replay the bytes of a holder."""
    async with PlainRelay(address) as relay:
        keys = holding.link.keys
        plain = await dial_sealed(relay.address, keys, os.urandom(16), Plain)
        plain.transport.abort()
        said = bytes(relay.to_server)
    await _all_unanswered(address, [said, said[:48], said[:300]] * 10)


async def wrong_proof(holding: Holding, address: Address) -> None:
    """Connect as a holder with wrong proofs until the sharer refuses connections."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        for _ in range(1000):
            async with _greeted(holding, address) as (reader, writer):
                writer.write(b"\x01" + os.urandom(80))
                with suppress(ConnectionError):
                    assert await reader.read() == b""
        raise AssertionError("the sharer always completes the TLS handshake")


async def drip_knock(holding: Holding, address: Address) -> None:
    knock = make_knock(holding.link.keys.knock, os.urandom(16))
    await _drip(*await asyncio.open_connection(*address), knock)


async def drip_tls(holding: Holding, address: Address) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(make_knock(holding.link.keys.knock, os.urandom(16)))
    await _drip(reader, writer, client_hello())


async def drip_proof(holding: Holding, address: Address) -> None:
    async with _greeted(holding, address) as (reader, writer):
        await _drip(reader, writer, b"\x01" * 81)


async def old_tls(holding: Holding, address: Address) -> None:
    knock = make_knock(holding.link.keys.knock, os.urandom(16))
    assert await answer_to(address, knock + client_hello(old=True)) == b""


async def huge_hello(holding: Holding, address: Address) -> None:
    """Send an endless ClientHello."""
    knock = make_knock(holding.link.keys.knock, os.urandom(16))
    first = b"\x16\x03\x01\x3f\xff\x01\x00\xff\xff\x03\x03".ljust(5 + 0x3FFF)
    more = b"\x16\x03\x01\x3f\xff".ljust(5 + 0x3FFF)
    assert await answer_to(address, knock + first + more * 100) == b""


async def key_updates(holding: Holding, address: Address) -> None:
    async with crafted(address, holding.link.keys) as tls:
        await _abuse(tls, [tls.key_update(asks_for_one=True) for _ in range(RECORDS)])


async def tiny_records(holding: Holding, address: Address) -> None:
    """Send a hello and endless unknown messages, one byte in each record."""
    async with crafted(address, holding.link.keys) as tls:
        said = b"\x12\x82\xa4type\xa5hello\xa4port\x00"
        said += b"\x0b\x82\xa4type\xa1x\xa1y\xc0" * (RECORDS // 12)
        await _abuse(tls, [tls.record(bytes((byte,))) for byte in said])


STRANGERS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        silence,
        half_open,
        garbage,
        another_id,
        knock_and_leave,
        replay,
        wrong_proof,
        drip_knock,
        drip_tls,
        drip_proof,
        old_tls,
        huge_hello,
        key_updates,
        tiny_records,
    )
}
"""All attacks before the proofs or at the TLS layer, by name."""


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


@asynccontextmanager
async def _greeted(
    holding: Holding, address: Address
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Knock, complete the TLS handshake and read the greeting."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(make_knock(holding.link.keys.knock, os.urandom(16)))
        await writer.start_tls(client_context(), server_hostname="")
        await reader.readexactly(GREETING_SIZE)
        yield reader, writer
    finally:
        writer.transport.abort()


async def _abuse(tls: CraftedTls, records: list[bytes]) -> None:
    """Send records that must end the connection."""
    with suppress(PeerError):
        await tls.send(b"".join(records))
    await tls.until_lost()
