"""Fetch in this process, from addresses of this machine and nowhere else."""

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.names.channel_id import parse_channel
from shoal.core.report.events import DownloadEvent, PeerLeft
from shoal.node.node import Node

__all__ = ["banned", "fetch", "fetch_chunk", "here"]


def here(peers: Iterable[Address] = ()) -> Settings:
    """Return settings with which a node uses 127.0.0.1 only."""
    return Settings(
        peers=tuple(peers), lan_only=True, no_lan=True, interfaces=("127.0.0.1",)
    )


async def fetch(
    channel: str,
    target: Path,
    peers: Iterable[Address],
    *,
    timeout: float | None = 20,
    seed: int = 1,
    on_event: Callable[[DownloadEvent], None] = lambda event: None,
) -> list[DownloadEvent]:
    """Fetch a channel from these servers; return all that was reported."""
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
    channel: str, index: int, peers: Iterable[Address], *, timeout: float = 20
) -> bytes:
    """Fetch one chunk from these servers."""
    async with Node(here(peers), rng=Random(1)) as node:
        return await node.fetch_chunk(parse_channel(channel), index, timeout=timeout)


def banned(events: Iterable[DownloadEvent]) -> set[Address]:
    """Return the servers that were found to lie."""
    return {
        event.address
        for event in events
        if isinstance(event, PeerLeft) and event.is_banned
    }
