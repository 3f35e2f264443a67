"""Half-open connections are limited, and a flood of them keeps no holder out."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shoal.core.host_limits import HalfOpen, HostLimit
from shoal.core.names.address_scope import slot_of
from shoal.errors import PeerError
from shoal.transport.sealed.noise import NoiseConnection
from shoal.transport.sealed.proven import ProvenPeer
from tests.helpers.sealed import (
    KEYS,
    OTHER_KEYS,
    Plain,
    Sealed,
    answer_to,
    flood,
    make_knock,
    open_sealed,
)


async def test_a_flood_of_silence_keeps_no_holder_out() -> None:
    async with open_sealed(max_half_open=64) as sealed:
        strangers = await flood(sealed.address, 2000)
        plain = await sealed.dial()
        assert sealed.listener.half_open <= 64
        plain.transport.abort()
        for each in strangers:
            each.close()


async def test_the_oldest_connection_of_an_address_is_evicted() -> None:
    half_open: HalfOpen[int] = HalfOpen(max_connections=5, max_per_address=2)
    assert half_open.add(1, "8.8.8.8", 1.0) is None
    assert half_open.add(2, "10.0.0.1", 2.0) is None
    assert half_open.add(3, "8.8.8.8", 3.0) is None
    assert half_open.add(4, "8.8.8.8", 4.0) == 1
    assert half_open.add(5, "10.0.0.1", 5.0) is None
    assert half_open.add(6, "10.0.0.1", 6.0) is None
    assert half_open.add(7, "10.0.0.1", 7.0) == 2
    assert half_open.next_deadline() == 3.0
    assert half_open.remove_overdue(4.0) == [3, 4]
    assert half_open.add(8, "8.8.8.8", 8.0) is None
    half_open.remove(8)
    half_open.remove(8)
    assert half_open.remove_oldest() == 5
    assert len(half_open) == 2


async def test_a_shortage_lowers_the_limit_until_half_have_gone() -> None:
    half_open: HalfOpen[int] = HalfOpen(max_connections=8)
    for connection in range(6):
        assert half_open.add(connection, "127.0.0.1", 0.0) is None
    assert half_open.tighten() == 0
    assert half_open.add(6, "127.0.0.1", 0.0) == 1
    assert half_open.add(7, "127.0.0.1", 0.0) == 2
    assert len(half_open) == 5
    for connection in (3, 4, 5):
        half_open.remove(connection)
    for connection in range(10, 16):
        assert half_open.add(connection, "127.0.0.1", 0.0) is None
    assert half_open.add(16, "127.0.0.1", 0.0) == 6
    while half_open.tighten() is not None:
        pass
    assert half_open.add(17, "127.0.0.1", 0.0) is None


@pytest.mark.parametrize(
    ("host", "other", "is_same"),
    [
        ("8.8.8.8", "8.8.8.8", True),
        ("8.8.8.8", "8.8.4.4", False),
        ("8.8.8.8", "::ffff:8.8.8.8", True),
        ("2600:1:2:3::1", "2600:1:2:3:ffff::2", True),
        ("2600:1:2:3::1", "2600:1:2:4::1", False),
    ],
)
def test_a_slot_covers_a_global_address_or_ipv6_prefix(
    host: str, other: str, is_same: bool
) -> None:
    assert (slot_of(host) == slot_of(other)) is is_same


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.1.1", "::1", "fe80::1%lo"]
)
def test_other_addresses_have_no_slots(host: str) -> None:
    assert slot_of(host) is None


async def fail_handshake(sealed: Sealed, source: str = "127.0.0.1") -> bytes:
    """Knock as a holder does, confirm nothing; return the answer."""
    return await answer_to(sealed.address, make_knock(KEYS), end=True, source=source)


async def test_failed_handshakes_are_limited_by_host() -> None:
    async with open_sealed(handshake_limit=HostLimit(burst=5.0, rate=0.0)) as sealed:
        for _ in range(20):  # completed handshakes do not count
            (await sealed.dial()).transport.abort()
        answers = [await fail_handshake(sealed) for _ in range(8)]
        assert [bool(each) for each in answers] == 5 * [True] + 3 * [False]
        with pytest.raises(PeerError):
            await sealed.dial()
        # Another host has not failed.
        assert await fail_handshake(sealed, "127.0.0.2")


async def test_refused_holders_do_not_count_as_failed() -> None:
    def refuse(peer: ProvenPeer) -> Plain:
        raise PeerError("too many")

    async with open_sealed(handshake_limit=HostLimit(burst=2.0, rate=0.0)) as sealed:
        sealed.listener.register(OTHER_KEYS, refuse)
        for _ in range(5):
            await (await sealed.dial(OTHER_KEYS)).until_lost()
        (await sealed.dial()).transport.abort()


async def test_strangers_do_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "shoal")
    async with open_sealed() as sealed:
        for _ in range(50):
            await answer_to(sealed.address, bytes(66))
        told = [each for each in caplog.records if "with the link" in each.message]
        assert len(told) == 1


@contextmanager
def no_garbage_collected() -> Iterator[None]:
    """Free only objects without references, as during a flood."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def count(kind: type) -> int:
    """Return how many objects of a type are in memory, ended ones included."""
    return sum(isinstance(each, kind) for each in gc.get_objects())


async def test_an_ended_connection_frees_its_memory() -> None:
    async with open_sealed() as sealed:
        (await sealed.dial()).transport.abort()
        with no_garbage_collected():
            before = count(NoiseConnection)
            for _ in range(10):
                # One connection knocks and leaves, one confirms its knock.
                await answer_to(sealed.address, make_knock(KEYS), end=True)
                plain = await sealed.dial()
                plain.transport.abort()
                await plain.until_lost()
                await (await sealed.first()).until_lost()
                sealed.served.clear()
            del plain
            assert count(NoiseConnection) <= before + 2


async def test_a_flood_uses_no_more_memory_than_the_limit_allows() -> None:
    async with open_sealed(max_half_open=64) as sealed:
        with no_garbage_collected():
            before = count(asyncio.Task)
            strangers = await flood(sealed.address, 1000)
            await sealed.dial()
            assert count(asyncio.Task) <= before + 64 + 2
        for each in strangers:
            each.close()
