"""Holders that attack who shares: its memory stays flat and honest ones are served.

The sharer is the real command in a process of its own, so that its memory can be
measured. threats.md B1 to B9, B14, B15.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from shoal.core.address import parse_address
from shoal.core.messages import encode_frame
from shoal.core.sealed_link import parse_link
from shoal.core.sealed_messages import Ask, Have, Hello, Page, Peers
from tests.helpers.commands import peer_of, rss, share
from tests.helpers.holder import Holder, Holding, Talk, make_holding
from tests.helpers.process import Program
from tests.helpers.sealed_fetching import fetch_sealed

CHUNK = 65_536
SIZE = 64 * CHUNK + 11
GENEROUS = 48 * 1024  # KiB that the sharer may grow by
ATTACK_TIME = 4.0  # seconds an attack may take to be sent
Attack = Callable[[Talk], Awaitable[None]]


class Sharer:
    """A share of the real command, and what its holders hold."""

    def __init__(self, program: Program, holding: Holding) -> None:
        self.program = program
        self.holding = holding
        self.address = parse_address(peer_of(program))


@pytest.fixture
async def sharer(tmp_path: Path) -> AsyncIterator[Sharer]:
    holding = make_holding(SIZE, chunk_size=CHUNK, name="source")
    source = tmp_path / "source"
    source.write_bytes(b"".join(map(holding.chunk, range(holding.chunks.count))))
    with share(source, "--chunk-size", CHUNK) as program:
        link = parse_link(program.wait_line("^shoal:", stream="out").string)
        yield Sharer(program, holding._replace(link=link))


class Greedy(Holder):
    """Say hello with nothing, and read nothing."""

    def greet(self, talk: Talk) -> None:
        talk.send(Hello(self.address.port))
        talk.transport.pause_reading()


async def send_much(talk: Talk, data: bytes, times: int) -> None:
    """Write as much as is taken within a while."""
    try:
        async with asyncio.timeout(ATTACK_TIME):
            for _ in range(times):
                talk.send_raw(data)
                while talk.transport.get_write_buffer_size() > 1 << 20:
                    await asyncio.sleep(0.01)
                    if talk.is_lost:
                        return
    except TimeoutError:
        pass


def frames(*messages: object, times: int) -> bytes:
    return b"".join(map(encode_frame, messages)) * times  # type: ignore[arg-type]


async def a_million_chunks(talk: Talk) -> None:
    asks = [Ask(i % 64) for i in range(1000)]
    await send_much(talk, frames(*asks, times=1), 1000)


async def a_million_any(talk: Talk) -> None:
    await send_much(talk, frames(Ask(), times=1000), 1000)


async def a_million_missing(talk: Talk) -> None:
    await send_much(talk, frames(Ask((1 << 32) - 1), times=1000), 1000)


async def pages_again_and_again(talk: Talk) -> None:
    await send_much(talk, frames(Page(0), times=1000), 1000)


async def a_million_hellos(talk: Talk) -> None:
    await send_much(talk, frames(Hello(0), times=1000), 1000)


async def cancels(talk: Talk) -> None:
    from shoal.core.sealed_messages import Cancel

    await send_much(talk, frames(Ask(1), Cancel(1), times=1000), 500)


async def haves_over_and_over(talk: Talk) -> None:
    root, full = talk.holder.holding.root, talk.holder.holding.full
    del root, full
    everything = Have([(0, talk.holder.holding.chunks.count)] * 4096)
    await send_much(talk, frames(everything, times=1), 200)


async def addresses_of_others(talk: Talk) -> None:
    for start in range(0, 10_000, 50):
        ports = range(start, start + 50)
        await send_much(
            talk,
            frames(Peers([("198.51.100.7", 1024 + p) for p in ports]), times=1),
            1,
        )


async def unknown_messages(talk: Talk) -> None:
    await send_much(talk, b"\x0b\x82\xa4type\xa1x\xa1y\xc0" * 1000, 1000)


ATTACKS = [
    a_million_chunks,
    a_million_any,
    a_million_missing,
    pages_again_and_again,
    a_million_hellos,
    cancels,
    haves_over_and_over,
    addresses_of_others,
    unknown_messages,
]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_who_takes_too_much(
    attack: Attack, sharer: Sharer, tmp_path: Path
) -> None:
    before = rss(sharer.program)
    out = tmp_path / "out"
    async with Greedy(sharer.holding) as greedy:
        talk = await greedy.dial(sharer.address)
        attacking = asyncio.create_task(attack(talk))
        await fetch_sealed(sharer.holding.link, out, [sharer.address])
        await attacking
        after = rss(sharer.program)
    assert out.read_bytes() == (tmp_path / "source").read_bytes()
    assert after - before < GENEROUS
    assert sharer.program.running
