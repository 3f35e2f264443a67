"""Attack whoever shares, as somebody who has the link; one case at a time.

python -m tests.adversary.adv CASE --link LINK --peer HOST:PORT
python -m tests.adversary.adv --list

It speaks the real handshake and misbehaves only after it. What has to hold all the
while is checked by `test_greedy_holders.py`, which runs every case.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

from msgspec import Struct

from shoal.core.address import Address, parse_address
from shoal.core.messages import encode_frame
from shoal.core.sealed_link import Link, parse_link
from shoal.core.sealed_messages import Ask, Cancel, Have, Hello, Page, Peers
from shoal.errors import PeerError
from tests.adversary.holders import learn
from tests.helpers.badholders import RUDE, ChunkTooFar
from tests.helpers.holder import Holder, Holding, Talk

__all__ = ["CASES", "attack"]

ATTACK_TIME = 2.0  # seconds an attack may take to be sent
SLOTS = 300  # connections opened at once

Attack = Callable[[Talk], Coroutine[None, None, None]]


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


def frames(*messages: Struct, times: int) -> bytes:
    return b"".join(map(encode_frame, messages)) * times


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
    await send_much(talk, frames(Ask(1), Cancel(1), times=1000), 500)


async def haves_over_and_over(talk: Talk) -> None:
    holding = talk.holder.holding
    talk.send(Hello(talk.holder.address.port, holding.root, holding.some(())))
    everything = Have([(0, holding.chunks.count)] * 4096)
    await send_much(talk, frames(everything, times=1), 200)
    # One of these may cost minutes where a share is large, so the first is the last.
    talk.transport.resume_reading()
    await talk.holder.until(lambda: talk.is_lost)


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


GREEDY: list[Attack] = [
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


@contextmanager
def dialling(holder: Holder) -> Iterator[Holder]:
    """Have a holder that listens nowhere, so that nobody dials it in turn."""
    try:
        yield holder
    finally:
        holder.end()


async def take_too_much(holding: Holding, address: Address, how: Attack) -> None:
    """Dial and do one of the above."""
    with dialling(Greedy(holding)) as greedy:
        await how(await greedy.dial(address))


async def be_rude(holding: Holding, address: Address, kind: type[Holder]) -> None:
    """Dial, say what may not be said, and wait until that ends it."""
    with dialling(kind(holding)) as rude:
        talk = await rude.dial(address)
        await rude.until(lambda: talk.is_lost)


async def take_all_slots(holding: Holding, address: Address) -> None:
    """Open connections, all of them proven, as long as they are accepted."""
    with dialling(Holder(holding)) as holder:
        for _ in range(SLOTS):
            try:
                await holder.dial(address)
            except PeerError:
                return


def _cases() -> dict[str, Callable[[Holding, Address], Coroutine[None, None, None]]]:
    cases = {}
    for how in GREEDY:
        cases[how.__name__] = lambda h, a, how=how: take_too_much(h, a, how)
    for kind in RUDE:
        if kind is ChunkTooFar:
            continue  # it waits until it is asked
        cases[kind.__name__] = lambda h, a, kind=kind: be_rude(h, a, kind)
    return {**cases, "take_all_slots": take_all_slots}


CASES = _cases()
"""Every case, by its name."""


async def attack(case: str, link: Link, address: Address) -> None:
    """Run one case against who shares at `address`."""
    await CASES[case](await learn(link, address), address)


async def attack_on(case: str, link: Link, address: Address) -> None:
    """Run one case again and again until standard input ends."""
    holding = await learn(link, address)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    sys.stdout.write("attacking\n")
    sys.stdout.flush()
    while not ended.done():
        await CASES[case](holding, address)


def main() -> None:
    """Do what the module says."""
    parser = argparse.ArgumentParser(prog="adv")
    parser.add_argument("case", nargs="?", choices=sorted(CASES))
    parser.add_argument("--link")
    parser.add_argument("--peer")
    parser.add_argument("--repeat", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list or not (args.case and args.link and args.peer):
        sys.stdout.write("\n".join(sorted(CASES)) + "\n")
        return
    run = attack_on if args.repeat else attack
    asyncio.run(run(args.case, parse_link(args.link), parse_address(args.peer)))


if __name__ == "__main__":
    main()
