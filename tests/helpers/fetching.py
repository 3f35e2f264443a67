"""Share and fetch in this process, on 127.0.0.1 only."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from msgspec.structs import replace

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.names.channel_id import parse_channel
from shoal.core.names.link import Link
from shoal.core.names.origin_url import parse_origins
from shoal.core.report.events import DownloadEvent, PeerLeft, Started
from shoal.node.node import Node
from shoal.swarm.share import SealedShare

__all__ = [
    "PATIENCE",
    "banned",
    "fetch",
    "fetch_chunk",
    "fetch_from_origin",
    "fetch_sealed",
    "here",
    "left_of",
    "sharing",
]

PATIENCE = 20.0  # seconds without a new chunk


def here(peers: Iterable[Address] = ()) -> Settings:
    """Return settings for a node that uses 127.0.0.1 only and knows these peers."""
    return Settings(
        peers=tuple(peers), lan_only=True, no_lan=True, interfaces=("127.0.0.1",)
    )


async def fetch(
    channel: str,
    target: Path,
    peers: Iterable[Address],
    *,
    timeout: float | None = PATIENCE,
    seed: int = 1,
    on_event: Callable[[DownloadEvent], None] = lambda event: None,
) -> list[DownloadEvent]:
    """Fetch an open channel from these servers; return all events."""
    events: list[DownloadEvent] = []

    def note(event: DownloadEvent) -> None:
        events.append(event)
        on_event(event)

    async with Node(here(peers), rng=Random(seed)) as node:
        await node.fetch_open(
            parse_channel(channel), target, timeout=timeout, on_progress=note
        )
    return events


async def fetch_chunk(
    channel: str, index: int, peers: Iterable[Address], *, timeout: float = PATIENCE
) -> bytes:
    """Fetch one chunk of an open channel from these servers."""
    async with Node(here(peers), rng=Random(1)) as node:
        return await node.fetch_chunk(parse_channel(channel), index, timeout=timeout)


def banned(events: Iterable[DownloadEvent]) -> set[Address]:
    """Return the addresses of the banned servers."""
    return {
        event.address
        for event in events
        if isinstance(event, PeerLeft) and event.is_banned
    }


async def fetch_sealed(
    link: Link,
    out: Path,
    peers: Iterable[Address],
    *,
    timeout: float | None = PATIENCE,
    seed: int = 1,
) -> list[DownloadEvent]:
    """Fetch a sealed share from these peers; return all events."""
    events: list[DownloadEvent] = []
    async with Node(here(peers), rng=Random(seed)) as node:
        await node.fetch(link, out, timeout=timeout, on_progress=events.append)
    return events


async def fetch_from_origin(
    path: Path, out: Path, origin: str, *, chunk_size: int, timeout: float = PATIENCE
) -> None:
    """Fetch `path` from an origin after its only peer sent the manifest and left."""
    async with Node(replace(here(), limit_up=1.0)) as sharer:
        share = await sharer.share(path, chunk_size=chunk_size)
        started = asyncio.Event()

        def note(event: DownloadEvent) -> None:
            if isinstance(event, Started):
                started.set()

        peer = Address("127.0.0.1", share.port)
        settings = replace(here([peer]), origins=parse_origins([origin]))
        async with Node(settings, rng=Random(1)) as node:
            fetching = asyncio.create_task(
                node.fetch(share.link, out, timeout=timeout, on_progress=note)
            )
            await started.wait()
            await sharer.aclose()
            await fetching


@asynccontextmanager
async def sharing(
    path: Path, chunk_size: int = 16_384, limit_up: float | None = None
) -> AsyncIterator[tuple[SealedShare, Address]]:
    """Share a file or folder; yield the share and its address."""
    settings = replace(here(), limit_up=limit_up)
    async with Node(settings, rng=Random(2)) as node:
        share = await node.share(path, chunk_size=chunk_size)
        yield share, Address("127.0.0.1", share.port)


def left_of(events: Iterable[DownloadEvent], address: Address) -> list[PeerLeft]:
    """Return the events at which connections with a peer ended."""
    return [e for e in events if isinstance(e, PeerLeft) and e.address == address]
