"""Fetch and share sealed shares in this process, on 127.0.0.1 and nowhere else."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from shoal.core.names.address import Address
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent, PeerLeft
from shoal.node.node import Node
from shoal.swarm.operations import SealedShare
from tests.helpers.fetching import here

__all__ = ["PATIENCE", "fetch_sealed", "left_of", "sharing"]

PATIENCE = 20.0  # seconds without a new chunk


async def fetch_sealed(
    link: Link,
    out: Path,
    peers: Iterable[Address],
    *,
    timeout: float | None = PATIENCE,
    seed: int = 1,
) -> list[DownloadEvent]:
    """Fetch a share from these peers; return all that was reported."""
    events: list[DownloadEvent] = []
    async with Node(here(peers), rng=Random(seed)) as node:
        await node.fetch(link, out, timeout=timeout, on_progress=events.append)
    return events


@asynccontextmanager
async def sharing(
    path: Path, chunk_size: int = 16_384, limit_up: float | None = None
) -> AsyncIterator[tuple[SealedShare, Address]]:
    """Share a file or folder; give the share and where it is to be had."""
    settings = here()
    if limit_up is not None:
        from msgspec.structs import replace

        settings = replace(settings, limit_up=limit_up)
    async with Node(settings, rng=Random(2)) as node:
        share = await node.share(path, chunk_size=chunk_size)
        yield share, Address("127.0.0.1", share.port)


def left_of(events: Iterable[DownloadEvent], address: Address) -> list[PeerLeft]:
    """Return how connections with a peer ended."""
    return [e for e in events if isinstance(e, PeerLeft) and e.address == address]
