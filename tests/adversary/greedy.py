"""Attacks of a holder that dials: too many requests, messages or connections.

Each attack is a coroutine that takes the share to attack with and the address of the
sharer. It checks what it can observe; `test_greedy_holders.py` and `run.py` check the
rest.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

from msgspec import Struct

from shoal.core.names.address import Address
from shoal.core.wire.messages import encode_frame
from shoal.core.wire.sealed_messages import (
    BlockRequest,
    Cancel,
    Have,
    Hello,
    Page,
    Peers,
    SealedRequest,
)
from shoal.errors import PeerError
from tests.helpers.badholders import RUDE, ChunkTooFar
from tests.helpers.holder import Holder, Holding, Talk

__all__ = ["GREEDY", "Attack", "dialling"]

ATTACK_TIME = 1.0  # seconds to send the messages of an attack
SLOTS = 300  # connections opened at the same time
HALVES = 100  # connections with an incomplete frame

Attack = Callable[[Holding, Address], Coroutine[None, None, None]]
Speech = Callable[[Talk], Coroutine[None, None, None]]


class Greedy(Holder):
    """Announce no chunks and read nothing."""

    def greet(self, talk: Talk) -> None:
        talk.send(Hello(self.address.port))
        talk.transport.pause_reading()


async def send_much(talk: Talk, data: bytes, times: int) -> None:
    """Write as many messages as the sharer accepts within `ATTACK_TIME`."""
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
    asks = [SealedRequest(i % 64) for i in range(1000)]
    await send_much(talk, frames(*asks, times=1), 1000)


async def one_chunk_again_and_again(talk: Talk) -> None:
    await send_much(talk, frames(SealedRequest(7), times=1000), 10)


async def a_million_any(talk: Talk) -> None:
    await send_much(talk, frames(SealedRequest(), times=1000), 1000)


async def a_million_missing(talk: Talk) -> None:
    await send_much(talk, frames(SealedRequest((1 << 32) - 1), times=1000), 1000)


async def pages_again_and_again(talk: Talk) -> None:
    await send_much(talk, frames(Page("hashes", 0, 0), times=1000), 1000)


async def a_million_hellos(talk: Talk) -> None:
    await send_much(talk, frames(Hello(0), times=1000), 1000)


async def cancels(talk: Talk) -> None:
    await send_much(talk, frames(SealedRequest(1), Cancel(1), times=1000), 500)


async def haves_over_and_over(talk: Talk) -> None:
    holding = talk.holder.holding
    talk.send(Hello(talk.holder.address.port, holding.root, holding.some(())))
    everything = Have([(0, holding.chunks.count)] * 4096)
    await send_much(talk, frames(everything, times=1), 200)
    # With a large share, one of these may take minutes, so there is only one.
    talk.transport.resume_reading()
    await talk.holder.until(lambda: talk.is_lost)


async def addresses_of_others(talk: Talk) -> None:
    """Name fifty addresses in each of very many messages."""
    named = [
        Peers([("198.51.100.7", 1024 + start + p) for p in range(50)])
        for start in range(0, 10_000, 50)
    ]
    await send_much(talk, frames(*named, times=1), 100)


async def blocks_and_their_hashes(talk: Talk) -> None:
    """Make the sharer hash chunk after chunk, and read nothing of that."""
    reads = [BlockRequest(i, i % 90, 0, 1, True) for i in range(1000)]
    await send_much(talk, frames(*reads, times=1), 1000)


async def cancelled_blocks(talk: Talk) -> None:
    pairs = [
        (BlockRequest(i, i % 90, 0, 1, True), Cancel(i % 90, i)) for i in range(99)
    ]
    await send_much(talk, frames(*(m for pair in pairs for m in pair), times=5), 1000)


async def one_read_number_for_all(talk: Talk) -> None:
    reads = [BlockRequest(7, i % 90, 0, 1, True) for i in range(1000)]
    await send_much(talk, frames(*reads, times=1), 1000)


async def blocks_that_do_not_exist(talk: Talk) -> None:
    talk.transport.resume_reading()
    count = talk.holder.holding.chunks.count
    talk.send(
        BlockRequest(1, count, 0, 1),
        BlockRequest(2, 0, 255, 1),
        BlockRequest(3, 0, 0, 256),
    )
    await talk.holder.until(lambda: talk.is_lost)


async def unknown_messages(talk: Talk) -> None:
    await send_much(talk, b"\x0b\x82\xa4type\xa1x\xa1y\xc0" * 1000, 1000)


async def indexes_out_of_range(talk: Talk) -> None:
    count = talk.holder.holding.chunks.count
    talk.transport.resume_reading()
    talk.send(
        SealedRequest(count), SealedRequest(count + 1), SealedRequest((1 << 32) - 1)
    )
    await talk.holder.until(lambda: talk.is_lost)


SPEECHES: list[Speech] = [
    a_million_chunks,
    one_chunk_again_and_again,
    a_million_any,
    a_million_missing,
    pages_again_and_again,
    a_million_hellos,
    cancels,
    haves_over_and_over,
    addresses_of_others,
    blocks_and_their_hashes,
    cancelled_blocks,
    one_read_number_for_all,
    blocks_that_do_not_exist,
    unknown_messages,
    indexes_out_of_range,
]


@contextmanager
def dialling(holder: Holder) -> Iterator[Holder]:
    """Yield a holder that does not listen, so the sharer does not dial it back."""
    try:
        yield holder
    finally:
        holder.end()


def _taking_too_much(speech: Speech) -> Attack:
    async def attack(holding: Holding, address: Address) -> None:
        with dialling(Greedy(holding)) as greedy:
            await speech(await greedy.dial(address))

    return attack


def _being_rude(kind: type[Holder]) -> Attack:
    async def attack(holding: Holding, address: Address) -> None:
        """Violate the protocol and wait until the sharer disconnects."""
        with dialling(kind(holding)) as rude:
            talk = await rude.dial(address)
            await rude.until(lambda: talk.is_lost)

    return attack


async def take_all_slots(holding: Holding, address: Address) -> None:
    """Open many connections, complete their proofs and hold them for a while."""
    with dialling(Holder(holding)) as holder:
        for _ in range(SLOTS):
            try:
                await holder.dial(address)
            except PeerError:
                break
        await asyncio.sleep(ATTACK_TIME)


async def frames_without_an_end(holding: Holding, address: Address) -> None:
    """Send half of a long frame on each of many connections."""
    with dialling(Greedy(holding)) as holder:
        for _ in range(HALVES):
            talk = await holder.dial(address)
            talk.send_raw(b"\x80\x80\x08" + bytes(64 * 1024))
        await asyncio.sleep(ATTACK_TIME)


GREEDY: dict[str, Attack] = {
    **{speech.__name__: _taking_too_much(speech) for speech in SPEECHES},
    # ChunkTooFar waits for a request.
    **{k.__name__: _being_rude(k) for k in RUDE if k is not ChunkTooFar},
    "take_all_slots": take_all_slots,
    "frames_without_an_end": frames_without_an_end,
}
"""All attacks of a holder that dials, by name."""
