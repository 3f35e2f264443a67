"""No relay or stranger passes as a holder."""

import asyncio
import socket

import pytest

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import (
    ANSWER_SIZE,
    KNOCK_SIZE,
    ServerHandshake,
    handshake_start,
)
from shoal.core.crypto.noise import open_first
from shoal.core.names.address import Address
from shoal.errors import NotAHolderError, PeerError
from tests.helpers.relay import ExchangingRelay, Knocked, PlainRelay
from tests.helpers.sealed import (
    KEYS,
    OTHER_KEYS,
    SERVER_ID,
    answer_to,
    make_knock,
    open_sealed,
)


async def test_a_captured_knock_is_refused_the_second_time() -> None:
    async with open_sealed() as sealed, PlainRelay(sealed.address) as relay:
        plain = await sealed.dial(address=relay.address)
        await plain.until(0)
        plain.transport.abort()
        captured = bytes(relay.to_server)
        for end in (KNOCK_SIZE, len(captured)):
            assert await answer_to(sealed.address, captured[:end], end=True) == b""
        async with open_sealed() as another:  # each server accepts a knock once
            answer = await answer_to(another.address, captured, end=True)
            assert len(answer) == ANSWER_SIZE
            assert await answer_to(another.address, captured, end=True) == b""
            assert not another.served
        assert len(sealed.served) == 1


@pytest.mark.parametrize("at_client", [False, True])
async def test_a_relay_with_its_own_key_is_refused(at_client: bool) -> None:
    async with open_sealed() as sealed:
        own = make_knock(OTHER_KEYS)[:32]
        async with ExchangingRelay(sealed.address, own, at_client=at_client) as relay:
            with pytest.raises(PeerError):
                await sealed.dial(address=relay.address)
            assert len(relay.to_client) == (ANSWER_SIZE if at_client else 0)
            assert len(relay.to_server) == KNOCK_SIZE
            assert not sealed.served


class Flipping(PlainRelay):
    """Flip one bit of everything after the handshake, in one direction."""

    def __init__(self, target: Address, *, to_client: bool) -> None:
        super().__init__(target)
        self._to_client = to_client

    def forward(self, data: bytes, *, to_client: bool) -> bytes:
        if to_client is self._to_client and len(data) > 100:
            return data[:80] + bytes((data[80] ^ 1,)) + data[81:]
        return data


@pytest.mark.parametrize("to_client", [False, True])
async def test_a_relay_that_changes_a_bit_ends_the_connection(to_client: bool) -> None:
    async with open_sealed() as sealed:
        sealed.echo = True
        async with Flipping(sealed.address, to_client=to_client) as relay:
            plain = await sealed.dial(address=relay.address)
            plain.transport.write(b"x" * 200)
            await plain.until_lost()
            assert not plain.received


class LyingServer(Knocked):
    """Answer every knock as a node does that has the share with these keys."""

    def __init__(self, keys: Keys, knock_keys: Keys) -> None:
        super().__init__()
        self._start = handshake_start(keys)
        self._knock = make_knock(knock_keys)

    async def meet(self, knock: bytes, accepted: socket.socket) -> None:
        opened = open_first(self._start, self._knock)
        assert opened is not None
        opened = opened._replace(ephemeral=knock[:32])
        loop = asyncio.get_running_loop()
        reply = ServerHandshake(opened, SERVER_ID).reply
        await loop.sock_sendall(accepted, reply)
        await loop.sock_recv(accepted, 1)


@pytest.mark.parametrize("keys", [KEYS, OTHER_KEYS])
async def test_a_server_that_cannot_open_the_knock_is_refused(keys: Keys) -> None:
    """Not even one that knows the id, but not what the client has sent."""
    async with LyingServer(keys, keys) as server, open_sealed() as sealed:
        with pytest.raises(NotAHolderError):
            await sealed.dial(address=server.address)


async def test_knocks_and_answers_have_nothing_in_common() -> None:
    seen = []
    for _ in range(2):
        async with open_sealed() as sealed:
            knock = make_knock(KEYS)
            seen += [knock, await answer_to(sealed.address, knock, end=True)]
    parts = [each[i : i + 4] for each in seen for i in range(len(each) - 3)]
    assert len(parts) == len(set(parts))
