"""Attacks of a holder on memory, places, processor time and other machines.

Each is a coroutine as in `tests.adversary.greedy`. Some need a share with large chunks;
`SHARES` has the size of the file and of its chunks.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from random import Random

from shoal.core.host_limits import ARRIVAL_BURST, ARRIVAL_RATE
from shoal.core.names.address import Address
from shoal.core.wire.sealed_messages import BlockRequest, Hello, Peers, SealedRequest
from shoal.errors import PeerError
from tests.adversary.greedy import ATTACK_TIME, Attack, dialling
from tests.helpers.holder import Heard, Holder, Holding, Talk

__all__ = ["FLOODS", "SHARES"]

PLACES = 192  # connections that a share accepts
HOLD_TIME = 6.0  # seconds for which the places are held
LONG_TIME = 24.0  # seconds, longer than an honest download waits for a place
SIP = 16 * 1024  # bytes that a slow reader takes at a time
PORTS = 60  # of the victim that count connections
VICTIM = "127.0.0.9"
MOST_DIALS = 24  # of the victim's ports in `HOLD_TIME`; without a limit it is all
LARGE = (40 << 20, "16M")

SHARES: dict[str, tuple[int, str]] = {
    "requests_never_read": LARGE,
    "requests_read_slowly": LARGE,
    "blocks_never_read": LARGE,
    # Every connection is served at once, so that none is idle.
    "every_place_of_use": ((6 << 20) + 11, "64K"),
}
"""The size of the shared file in bytes, and of its chunks, where they matter."""


class Passenger(Holder):
    """Announce no chunk and answer nothing."""

    keeps_chunks = False

    def greet(self, talk: Talk) -> None:
        talk.send(Hello(0, self.holding.root, self.holding.some(())))

    def on_message(self, talk: Talk, message: Heard) -> None:
        pass


async def fill_places(
    holder: Holder, talks: list[Talk], address: Address, begin: Callable[[Talk], None]
) -> None:
    """Open as many connections as are accepted, and `begin` on each."""
    for _ in range(PLACES - sum(not talk.is_lost for talk in talks)):
        try:
            talks.append(await holder.dial(address))
        except PeerError:
            break
        begin(talks[-1])


def _held(
    begin: Callable[[Talk], None],
    tick: Callable[[Talk], None],
    seconds: float = HOLD_TIME,
) -> Attack:
    """Return an attack that takes every place and calls `tick` on each now and then.

    A long one takes the places that others leave, and those that it loses, too.
    """

    async def attack(holding: Holding, address: Address) -> None:
        talks: list[Talk] = []
        with dialling(Passenger(holding)) as holder:
            for number in range(int(seconds)):
                if not number or seconds > HOLD_TIME:
                    await fill_places(holder, talks, address, begin)
                for talk in talks:
                    if not talk.is_lost:
                        tick(talk)
                await asyncio.sleep(1.0)

    return attack


def _ask_for_all(talk: Talk) -> None:
    count = min(talk.holder.holding.chunks.count, 60)
    talk.send(*map(SealedRequest, range(count)))
    talk.transport.pause_reading()


def _ask_for_blocks(talk: Talk) -> None:
    talk.send(*(BlockRequest(number, 0, 0, 256, True) for number in range(7)))
    talk.transport.pause_reading()


def _sip(talk: Talk) -> None:
    """Read a little, whatever the chunk's size."""
    sock = talk.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP)
    talk.transport.resume_reading()
    asyncio.get_running_loop().call_later(0.001, talk.transport.pause_reading)


def _ask_for_one(talk: Talk) -> None:
    talk.send(
        SealedRequest(Random(id(talk)).randrange(talk.holder.holding.chunks.count))
    )


def _nothing(talk: Talk) -> None:
    pass


async def hellos_and_reconnects(holding: Holding, address: Address) -> None:
    """Connect again and again, each time with half a bitfield and a request."""
    count = holding.chunks.count
    half = holding.some(range(0, count, 2))
    hello = Hello(0, holding.root, half)
    accepted, loop = 0, asyncio.get_running_loop()
    begun = loop.time()
    with dialling(Passenger(holding)) as holder:
        while loop.time() < begun + HOLD_TIME and accepted < 2 * ARRIVAL_BURST:
            is_accepted = await _arrive(holder, address, hello)
            accepted += is_accepted
            if not is_accepted:
                await asyncio.sleep(0.05)
    passed = loop.time() - begun
    most = ARRIVAL_BURST + ARRIVAL_RATE * passed + 5
    assert accepted <= most, f"{accepted} arrivals of one host in {passed:.0f} s"


async def _arrive(holder: Holder, address: Address, hello: Hello) -> bool:
    """Connect, say hello and leave; return False if the sharer says nothing."""
    talk = await holder.dial(address)
    talk.send(hello, SealedRequest())
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await holder.until(lambda: talk.is_lost or bool(talk.received))
    talk.close()
    return bool(talk.received)


async def ports_of_one_host(holding: Holding, address: Address) -> None:
    """Name thousands of ports of a private host, some of which count connections."""
    await _name_ports(holding, address, 1)


async def ports_named_by_many(holding: Holding, address: Address) -> None:
    """Have many connections name the ports of one host."""
    await _name_ports(holding, address, 20)


async def _name_ports(holding: Holding, address: Address, talkers: int) -> None:
    dialled: set[int] = set()
    async with AsyncExitStack() as stack:
        ports = []
        for _ in range(PORTS):
            count = partial(_note, dialled)
            server = await asyncio.start_server(count, VICTIM, 0)
            stack.callback(server.close)
            ports.append(server.sockets[0].getsockname()[1])
        with dialling(Passenger(holding)) as holder:
            for number in range(talkers):
                talk = await holder.dial(address)
                await asyncio.sleep(0.02)
                own = ports[number % PORTS :] + ports[: number % PORTS]
                listed = [*own, *range(20_000, 22_000)]
                for start in range(0, len(listed), 50):
                    talk.send(Peers([(VICTIM, p) for p in listed[start : start + 50]]))
            await asyncio.sleep(HOLD_TIME)
    assert len(dialled) <= MOST_DIALS, f"{len(dialled)} ports of one host were dialled"


async def _note(
    dialled: set[int], _: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    dialled.add(writer.get_extra_info("sockname")[1])
    writer.close()


async def relay_to_itself(holding: Holding, address: Address) -> None:
    """Join two connections to the sharer: no byte comes from either."""
    ends = [await asyncio.open_connection(*address) for _ in range(2)]
    (one, to_one), (other, to_other) = ends
    relays = [
        asyncio.create_task(_pass_on(one, to_other)),
        asyncio.create_task(_pass_on(other, to_one)),
    ]
    await asyncio.sleep(ATTACK_TIME)
    for relay in relays:
        relay.cancel()
    results = await asyncio.gather(*relays, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) or not each for each in results)
    for writer in (to_one, to_other):
        writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Pass bytes on; return the first ones."""
    first = await reader.read(1 << 16)
    writer.write(first)
    return first


async def many_node_ids(holding: Holding, address: Address) -> None:
    """Take places with a new node id for each connection, and use none of them."""
    async with AsyncExitStack() as stack:
        for _ in range(2 * PLACES):
            holder = Passenger(holding, os.urandom(16))
            stack.callback(holder.end)
            with suppress(PeerError):
                await holder.dial(address)
        await asyncio.sleep(ATTACK_TIME)


FLOODS: dict[str, Attack] = {
    "requests_never_read": _held(_ask_for_all, _nothing),
    "requests_read_slowly": _held(_ask_for_all, _sip),
    "blocks_never_read": _held(_ask_for_blocks, _nothing),
    "small_requests_never_read": _held(_ask_for_all, _nothing),
    "every_place_of_use": _held(_ask_for_one, _ask_for_one, LONG_TIME),
    "hellos_and_reconnects": hellos_and_reconnects,
    "ports_of_one_host": ports_of_one_host,
    "ports_named_by_many": ports_named_by_many,
    "relay_to_itself": relay_to_itself,
    "many_node_ids": many_node_ids,
}
"""All attacks of this module, by name."""
