"""A client without the link gets no answer and has to leave by the deadline."""

import asyncio
import os
import time
from contextlib import suppress

import pytest

from shoal.core.crypto.keys import derive_keys
from shoal.transport.sealed import listen
from tests.helpers.crafted import knocked
from tests.helpers.sealed import (
    KEYS,
    OTHER_KEYS,
    PATIENCE,
    answer_to,
    client_hello,
    make_knock,
    open_sealed,
)

HTTP = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".ljust(300)
KNOCK = make_knock(KEYS)
GARBAGE = {
    **{f"{size} bytes": os.urandom(size) for size in (0, 1, 65, 66, 67, 300, 70_000)},
    **{f"{size} bytes of HTTP": HTTP[:size] for size in (1, 65, 66, 67, 300)},
    "zeros": bytes(66),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "TLS": client_hello(),
    "TLS 1.2": client_hello(old=True),
    "BitTorrent": b"\x13BitTorrent protocol" + bytes(8) + os.urandom(40),
    "a message": b"\x15\x82\xa4type\xa7request\xa5index\x00" + bytes(40),
    "a knock of another share": make_knock(OTHER_KEYS),
    "a knock with one bit flipped": bytes((KNOCK[0] ^ 1,)) + KNOCK[1:],
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("end", [False, True])
async def test_a_stranger_receives_no_byte(data: bytes, end: bool) -> None:
    async with open_sealed(within=0.3) as sealed:
        assert await answer_to(sealed.address, data, end=end) == b""


STAGES = ["nothing", "half a knock", "knock", "half a confirmation"]


@pytest.mark.parametrize("stage", STAGES)
async def test_the_deadline_ends_a_client_that_falls_silent_at_any_stage(
    stage: str,
) -> None:
    loop = asyncio.get_running_loop()
    async with open_sealed(within=0.4) as sealed:
        begun = time.monotonic()
        if stage in ("nothing", "half a knock"):
            said = make_knock(KEYS)[:33] if stage != "nothing" else b""
            assert await answer_to(sealed.address, said) == b""
        else:
            async with knocked(sealed.address, KEYS) as (sock, _, confirmation):
                if stage == "half a confirmation":
                    await loop.sock_sendall(sock, confirmation[:8])
                async with asyncio.timeout(PATIENCE):
                    with suppress(ConnectionError):
                        assert await loop.sock_recv(sock, 1) == b""
        assert time.monotonic() - begun >= 0.35
        assert sealed.listener.half_open == 0
        assert not sealed.served


@pytest.mark.parametrize("stage", ["knock", "confirmation"])
async def test_the_deadline_does_not_move_for_a_client_that_trickles_bytes(
    stage: str,
) -> None:
    async with open_sealed(within=0.5) as sealed:
        reader, writer = await asyncio.open_connection(*sealed.address)
        drip = make_knock(KEYS)
        if stage == "confirmation":
            writer.write(drip)
            drip = bytes(16)
        ended = asyncio.create_task(reader.read(-1))
        async with asyncio.timeout(PATIENCE):
            for byte in drip[:15]:
                writer.write(bytes((byte,)))
                done, _ = await asyncio.wait({ended}, timeout=0.05)
                if done:
                    break
        await asyncio.wait({ended}, timeout=PATIENCE)
        assert ended.done(), "the connection outlived its deadline"
        assert ended.exception() is None or isinstance(ended.exception(), OSError)
        writer.transport.abort()
        assert sealed.listener.half_open == 0


async def test_a_wrong_confirmation_closes_without_another_byte() -> None:
    loop = asyncio.get_running_loop()
    async with open_sealed() as sealed:
        async with knocked(sealed.address, KEYS) as (sock, _, _):
            await loop.sock_sendall(sock, bytes(16))
            async with asyncio.timeout(PATIENCE):
                with suppress(ConnectionError):
                    assert await loop.sock_recv(sock, 1) == b""
        assert not sealed.served


async def test_a_knock_is_tried_with_every_share_while_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "TRIES", 4)
    async with open_sealed() as sealed:
        for number in range(50):
            keys = derive_keys(bytes((number,)) * 31 + b"x")
            sealed.listener.register(keys, sealed.serve)
        for keys in (KEYS, derive_keys(bytes((49,)) * 31 + b"x")):
            plain = await sealed.dial(keys)
            plain.transport.abort()
        assert await answer_to(sealed.address, make_knock(OTHER_KEYS)) == b""
