"""TLS records that no library sends, from a peer that has proven the id.

The limits are in bytes, so no test depends on time.
"""

import asyncio
import os
import ssl
from collections.abc import Callable

import pytest

from shoal.core.crypto.proof import make_knock
from shoal.core.limits import OVERHEAD_LIMIT
from shoal.errors import ProtocolError
from shoal.transport.tls.certificate import client_context, make_certificate
from shoal.transport.tls.records import Records
from tests.helpers.crafted import ALERT, CraftedTls, crafted
from tests.helpers.sealed import KEYS, open_sealed

MANY = 20_000  # records, of at least 22 bytes each


def key_updates(tls: CraftedTls) -> bytes:
    return b"".join(tls.key_update() for _ in range(MANY))


def key_updates_that_request_one(tls: CraftedTls) -> bytes:
    return b"".join(tls.key_update(asks_for_one=True) for _ in range(MANY))


def records_of_one_byte(tls: CraftedTls) -> bytes:
    return b"".join(tls.record(b"x") for _ in range(MANY))


def empty_records(tls: CraftedTls) -> bytes:
    return b"".join(tls.record(b"") for _ in range(MANY))


@pytest.mark.parametrize(
    "make",
    [
        key_updates,
        key_updates_that_request_one,
        records_of_one_byte,
        empty_records,
    ],
)
async def test_too_many_records_without_payload_end_the_connection(
    make: Callable[[CraftedTls], bytes],
) -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as tls:
        data = make(tls)
        assert len(data) > 4 * OVERHEAD_LIMIT
        await tls.send(data)
        await tls.until_lost()
        await sealed.served[0].until_lost()
        # The limit was exceeded long before the last record.
        assert len(sealed.served[0].received) < MANY / 2


async def test_an_abused_node_serves_others() -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as tls:
        sealed.echo = True
        abusing = asyncio.create_task(tls.send(key_updates(tls)))
        plain = await sealed.dial()
        plain.transport.write(b"hello")
        assert await plain.until(5) == b"hello"
        plain.transport.abort()
        await abusing


async def test_a_key_update_now_and_then_is_accepted() -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as tls:
        sealed.echo = True
        sent = b""
        for _ in range(200):
            piece = os.urandom(16_000)
            assert await tls.send(tls.key_update(asks_for_one=True))
            assert await tls.send(tls.record(piece))
            sent += piece
        assert await sealed.served[0].until(len(sent)) == sent


@pytest.mark.parametrize("size", [16, 22, 100])
async def test_one_message_per_record_is_accepted(size: int) -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as tls:
        sent = b""
        for _ in range(1000):
            piece = os.urandom(size)
            assert await tls.send(tls.record(piece))
            sent += piece
        assert await sealed.served[0].until(len(sent)) == sent


@pytest.mark.parametrize("kind", [20, 21, 22, 24, 99])
async def test_a_record_of_another_kind_ends_the_connection(kind: int) -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as tls:
        await tls.send(tls.record(b"\x01\x00\x00\x10" + bytes(16), kind))
        await tls.until_lost()
        await sealed.served[0].until_lost()


async def test_a_peer_that_ends_its_stream_is_sent_nothing_more() -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as tls:
        owed = bytes(64 << 20)
        sealed.served[0].transport.write(owed)
        await tls.send(tls.record(b"\x01\x00", ALERT))
        assert await tls.until_lost() < len(owed)
        await sealed.served[0].until_lost()


async def test_a_modified_record_ends_the_connection() -> None:
    async with open_sealed() as sealed, crafted(sealed.address, KEYS) as tls:
        record = bytearray(tls.record(b"hello"))
        record[-1] ^= 1
        await tls.send(bytes(record))
        await tls.until_lost()
        assert not sealed.served[0].received


async def test_a_server_sends_no_ticket() -> None:
    async with open_sealed() as sealed:
        reader, writer = await asyncio.open_connection(*sealed.address)
        writer.write(make_knock(KEYS.knock, os.urandom(16)))
        await writer.start_tls(client_context(), server_hostname="")
        await reader.readexactly(34)  # a ticket would arrive before it
        assert not writer.get_extra_info("ssl_object").session.has_ticket
        writer.transport.abort()


def test_a_resumed_session_is_refused() -> None:
    context = make_certificate().context
    context.options &= ~ssl.OP_NO_TICKET
    context.num_tickets = 2  # as another implementation's server may
    contexts = client_context.__wrapped__(), context
    contexts[0].options &= ~ssl.OP_NO_TICKET
    first = Records(contexts[0], is_server=False)
    talk(first, Records(context, is_server=True))
    assert first.ssl.session is not None
    assert first.ssl.session.has_ticket
    again = Records(contexts[0], is_server=False)
    again.ssl.session = first.ssl.session
    with pytest.raises(ProtocolError, match="not a new one"):
        talk(again, Records(context, is_server=True))


def talk(client: Records, server: Records) -> None:
    """Complete a handshake and process the server's records after it."""
    for _ in range(2):
        server.receive(memoryview(client.shake_hands()))
        client.receive(memoryview(server.shake_hands()))
    assert client.fill(memoryview(bytearray(1))) == 0
