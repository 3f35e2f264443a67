"""Whom a node dials, when, and whom it leaves alone; nobody is really dialled."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from shoal.core.bans import BAN_TIME
from shoal.core.dials import DIAL_BURST, DIAL_RATE, MAX_PUNCHES, DialPace
from shoal.core.names.address import Address
from shoal.core.peerbook import MAX_BACKOFF
from shoal.errors import PeerError, SelfConnectionError
from shoal.transfer.dialler import (
    MAX_DIALS,
    MAX_PEERS,
    PUNCH_AFTER,
    Dialler,
)
from shoal.transport.dial import ATTEMPT_DELAY
from tests.helpers.virtual_time import now, virtual_time

A, B = Address("10.0.0.1", 4000), Address("10.0.0.2", 4000)
GLOBAL = Address("8.8.8.8", 4000)


class World:
    """The peers that may be dialled, and when each was."""

    def __init__(self) -> None:
        self.dials: list[tuple[float, Address]] = []
        self.answers: dict[Address, Exception | None] = {}
        self.hangs: set[Address] = set()
        self.connected: set[Address] = set()
        self.sources: list[str] = []
        self.on_connected: Callable[[Address], None] = self.connected.add
        self.known = Dialler(
            self.dial, lambda: len(self.connected), Random(1), DialPace()
        )

    async def dial(self, address: Address, source: str) -> None:
        self.dials.append((now(), address))
        if address in self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0.01)
        error = self.answers.get(address, PeerError("nobody is there"))
        if error is not None:
            raise error
        self.sources.append(source)
        self.on_connected(address)

    def lose(self, address: Address) -> None:
        self.connected.discard(address)
        self.known.on_lost(address)

    def dials_of(self, address: Address) -> list[float]:
        return [when for when, dialled in self.dials if dialled == address]


def only_liars(world: World) -> bool:
    """Ask anew: mypy believes that what a property once said stays so."""
    return world.known.has_only_liars


async def report(*found: tuple[Address, str]) -> AsyncIterator[tuple[Address, str]]:
    for each in found:
        yield each


@asynccontextmanager
async def dialling(*found: tuple[Address, str]) -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.known.run([report(*found)]))
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.wait([task])


@virtual_time
async def test_one_that_fails_is_dialled_later_and_later_but_for_ever() -> None:
    async with dialling((A, "lan")) as world:
        await asyncio.sleep(900)
        dials = world.dials_of(A)
        gaps = [b - a for a, b in zip(dials, dials[1:], strict=False)]
        assert all(0.5 * 2**n <= gap for n, gap in enumerate(gaps[:6]))
        assert max(gaps) <= MAX_BACKOFF + 2
        assert all(gap >= MAX_BACKOFF / 2 for gap in gaps[7:])
        assert len(gaps) > 15


@virtual_time
async def test_one_that_is_connected_is_not_dialled_again_until_it_is_lost() -> None:
    async with dialling((A, "lan"), (A, "dht")) as world:
        world.answers[A] = None
        await asyncio.sleep(300)
        assert len(world.dials) == 1
        assert world.sources == ["lan"]
        world.known.on_ready(A)
        world.lose(A)
        await asyncio.sleep(3)
        assert len(world.dials) == 2


@virtual_time
async def test_one_that_lets_us_in_and_hangs_up_is_dialled_later_and_later() -> None:
    async with dialling((A, "lan")) as world:
        world.answers[A] = None
        lost = 0
        for _ in range(6000):
            await asyncio.sleep(0.1)
            if world.connected:
                world.lose(A)
                lost += 1
        # 600 s: 1, 2, 4... and then once a minute at most.
        assert 8 <= lost <= 30


@virtual_time
async def test_one_that_hangs_up_while_being_dialled_keeps_no_slot() -> None:
    async with dialling((A, "lan")) as world:
        world.answers[A] = None
        world.on_connected = world.lose
        await asyncio.sleep(200)
        assert 5 <= len(world.dials) <= 15


@virtual_time
async def test_ourselves_are_dialled_once_and_do_not_count() -> None:
    async with dialling((A, "dht"), (B, "lan")) as world:
        world.answers[A] = SelfConnectionError("this very node")
        await asyncio.sleep(1000)
        assert len(world.dials_of(A)) == 1
        world.known.add(A, "dht")
        await asyncio.sleep(1000)
        assert len(world.dials_of(A)) == 1
        world.known.ban(B)
        assert only_liars(world)


@virtual_time
async def test_a_liar_is_left_alone_for_a_while_and_then_tried_again() -> None:
    async with dialling((A, "lan")) as world:
        world.answers[A] = None
        await asyncio.sleep(1)
        world.known.ban(A)
        world.lose(A)
        assert world.known.is_banned(A)
        await asyncio.sleep(BAN_TIME - 10)
        assert len(world.dials) == 1
        await asyncio.sleep(12 + 1)
        assert not world.known.is_banned(A)
        assert len(world.dials) == 2


@virtual_time
async def test_a_ban_is_for_one_port() -> None:
    world = World()
    world.known.ban(GLOBAL)
    world.known.ban(A)
    assert world.known.is_banned(GLOBAL)
    assert not world.known.is_banned(Address(GLOBAL.host, 5000))
    assert not world.known.is_banned(Address(A.host, 5000))
    assert not world.known.is_banned(B)


@virtual_time
async def test_only_liars_are_left_when_all_that_was_found_lied() -> None:
    world = World()
    assert not only_liars(world)
    world.known.add(A, "lan")
    world.known.add(B, "lan")
    world.known.ban(A)
    assert not only_liars(world)
    world.known.ban(B)
    assert only_liars(world)
    assert len(world.known) == 2
    world.known.add(GLOBAL, "dht")
    assert not only_liars(world)


@virtual_time
async def test_few_are_dialled_at_once_and_one_that_hangs_holds_up_no_other() -> None:
    crowd = [Address(f"10.0.1.{number}", 4001) for number in range(100)]
    async with dialling(*((each, "dht") for each in crowd)) as world:
        world.hangs = set(crowd)
        await asyncio.sleep(100)
        assert len(world.dials) == MAX_DIALS
    async with dialling(*((each, "dht") for each in crowd)) as world:
        world.hangs = set(crowd[: MAX_DIALS - 1])
        await asyncio.sleep(100)
        assert {address for _, address in world.dials} == set(crowd)


@virtual_time
async def test_dials_to_the_internet_that_wait_leave_their_places_to_others() -> None:
    """A peer behind a NAT may dial us later; sixty-four are waited for."""
    crowd = [Address(f"8.8.{number}.1", 4001) for number in range(200)]
    async with dialling(*((each, "dht") for each in crowd)) as world:
        world.hangs = set(crowd)
        await asyncio.sleep(PUNCH_AFTER - 0.1)
        assert len(world.dials) == MAX_DIALS
        await asyncio.sleep(100)
        assert len(world.dials) == MAX_PUNCHES + MAX_DIALS
        assert world.known.dialling == MAX_PUNCHES + MAX_DIALS


@virtual_time
async def test_the_dials_that_wait_are_those_of_all_shares() -> None:
    pace = DialPace()
    worlds = [World(), World()]
    for number, world in enumerate(worlds):
        world.known = Dialler(world.dial, lambda: 0, Random(1), pace)
        crowd = [Address(f"8.{number}.{each}.1", 4001) for each in range(200)]
        world.hangs = set(crowd)
        for address in crowd:
            world.known.add(address, "swarm")
    tasks = [asyncio.create_task(world.known.run([])) for world in worlds]
    await asyncio.sleep(100)
    dials = sum(len(world.dials) for world in worlds)
    assert dials == MAX_PUNCHES + 2 * MAX_DIALS
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert pace.begin_punch()


@virtual_time
async def test_no_more_are_dialled_than_one_should_be_connected_with() -> None:
    crowd = [Address(f"10.0.1.{number}", 4001) for number in range(100)]
    async with dialling(*((each, "dht") for each in crowd)) as world:
        world.answers = dict.fromkeys(crowd)
        await asyncio.sleep(100)
        assert len(world.connected) == MAX_PEERS
        gone = next(iter(world.connected))
        world.lose(gone)
        await asyncio.sleep(10)
        assert len(world.connected) == MAX_PEERS


@virtual_time
async def test_two_shares_of_a_node_dial_no_faster_than_one() -> None:
    worlds = [World(), World()]
    pace = DialPace()
    for number, world in enumerate(worlds):
        world.known = Dialler(world.dial, lambda: 0, Random(1), pace)
        for last in range(250):
            world.known.add(Address(f"10.0.{number}.{last}", 4001), "swarm")
    tasks = [asyncio.create_task(world.known.run([])) for world in worlds]
    await asyncio.sleep(10.0)
    dials = sorted(when for world in worlds for when, _ in world.dials)
    assert len(dials) <= DIAL_BURST + 10.0 * DIAL_RATE
    assert len(dials) >= 10.0 * DIAL_RATE / 2
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@virtual_time
async def test_a_named_address_is_dialled_soon_during_a_flood() -> None:
    async with dialling() as world:
        for last in range(250):
            world.known.add(Address(f"10.0.0.{last}", 4001), "swarm")
        await asyncio.sleep(1.0)
        world.known.add(B, "peer")
        assert not world.dials_of(B)
        await asyncio.sleep(1.0)
        assert world.dials_of(B)


# Two addresses of one node on the LAN.

SIX, FOUR = Address("fe80::7%eth0", 4001), Address("10.0.0.7", 4001)
ON_THE_LAN = ((FOUR, "lan"), (SIX, "lan"))


@virtual_time
async def test_the_other_family_of_a_connected_node_is_dialled_later() -> None:
    async with dialling(*ON_THE_LAN) as world:
        world.answers = {SIX: None, FOUR: None}
        world.on_connected = world.known.on_ready
        await asyncio.sleep(3.0)
        assert [dialled for _, dialled in world.dials] == [SIX]
        # The other may be another node with the same port after all.
        await asyncio.sleep(10.0)
        assert [dialled for _, dialled in world.dials] == [SIX, FOUR]


@virtual_time
async def test_the_other_family_is_not_dialled_where_nodes_have_no_identity() -> None:
    world = World()
    world.answers = {SIX: None, FOUR: None}
    world.known = Dialler(
        world.dial, lambda: 0, Random(1), DialPace(), has_identity=False
    )
    world.on_connected = world.known.on_ready
    task = asyncio.create_task(world.known.run([report(*ON_THE_LAN)]))
    await asyncio.sleep(600.0)
    assert [dialled for _, dialled in world.dials] == [SIX]
    world.known.on_lost(SIX)
    world.answers[SIX] = PeerError("it is gone")
    await asyncio.sleep(120.0)
    assert world.dials_of(FOUR)
    task.cancel()
    await asyncio.wait([task])


@virtual_time
async def test_a_family_that_does_not_answer_gets_a_quarter_of_a_second() -> None:
    async with dialling(*ON_THE_LAN) as world:
        world.hangs.add(SIX)
        await asyncio.sleep(5.0)
        waited = world.dials_of(FOUR)[0] - world.dials_of(SIX)[0]
        assert waited == pytest.approx(ATTEMPT_DELAY, abs=0.001)


@virtual_time
async def test_addresses_that_nothing_joins_are_dialled_at_once() -> None:
    found = [(SIX, "lan"), (Address("10.0.0.7", 4002), "lan")]
    found += [(Address("10.0.0.8", 4001), "peer"), (Address("fd00::8", 4001), "dht")]
    async with dialling(*found) as world:
        await asyncio.sleep(0.1)
        assert len(world.dials) == 4
        assert ":" in world.dials[0][1].host, "IPv6 comes first"
