"""Attacks of a holder that arrives again and again at a sharer of many chunks."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from shoal.core.manifest.chunks import Chunks
from shoal.core.names.address import Address, parse_address
from shoal.core.names.link import Link, parse_link
from shoal.core.wire.sealed_messages import Hello, SealedRequest
from tests.adversary.greedy import dialling
from tests.helpers.badholders import Silent
from tests.helpers.commands import cpu_time, link_of, peer_of, share
from tests.helpers.holder import Holding, Passive

__all__ = ["ARRIVALS"]

COUNT = 1 << 15  # chunks
CHUNK_SIZE = 16_384  # bytes, the smallest
TIMES = 40  # arrivals
MOST_EACH = 0.02  # seconds of processor time: the handshake takes the most of it


class Half(Silent):
    """Have every second chunk, and keep none."""

    keeps_chunks = False

    @property
    def bitfield(self) -> bytes:
        return b"\xaa" * (self.holding.chunks.count // 8)


def arrivals_with_half_of_the_chunks(folder: Path) -> None:
    """Arrive with half of the chunks, request one, and leave, over and over."""
    source = folder / "x"
    with source.open("wb") as file:
        file.truncate(COUNT * CHUNK_SIZE)
    with share(source, "--chunk-size", CHUNK_SIZE) as sharer:
        link, address = parse_link(link_of(sharer)), parse_address(peer_of(sharer))
        each = asyncio.run(_arrive(link, address, lambda: cpu_time(sharer)))
    assert each <= MOST_EACH, f"{each * 1000:.0f} ms of processor time for each arrival"


async def _arrive(link: Link, address: Address, cpu: Callable[[], float]) -> float:
    """Return the processor time of the sharer for an arrival, in seconds."""
    holding = Holding(link, b"", {}, Chunks(COUNT * CHUNK_SIZE, CHUNK_SIZE), bytes)
    with dialling(Passive(holding)) as passive:
        talk = await passive.dial(address)
        await passive.until(lambda: bool(talk.received))
        hello = talk.received[0]
    assert isinstance(hello, Hello)
    assert hello.root is not None
    before = cpu()
    for _ in range(TIMES):
        with dialling(Half(holding._replace(root=hello.root))) as half:
            talk = await half.dial(address)
            talk.send(SealedRequest())
            await half.until(lambda t=talk: len(t.received) > 1)  # type: ignore[misc]
    return (cpu() - before) / TIMES


ARRIVALS: dict[str, Callable[[Path], None]] = {
    arrivals_with_half_of_the_chunks.__name__: arrivals_with_half_of_the_chunks
}
"""All cases by name; each is given an empty folder."""
