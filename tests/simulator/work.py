"""What a simulated machine does with a node: share, fetch, read, stream."""

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Any

import shoal
from shoal.core.manifest.chunks import Chunks
from shoal.core.names.channel_id import Channel
from shoal.core.names.link import Link
from tests.simulator.jobs import JobState
from tests.simulator.open_network import SERVING
from tests.simulator.plan import CHUNK, Share

__all__ = ["do_job", "serve_share"]

READS = 6  # parts that a reader reads


async def serve_share(node: shoal.Node, share: Share, path: Path) -> Any:
    """Serve a sealed share, or a file over a hash channel or a named one."""
    if not share.open:
        return await node.share(path, chunk_size=share.chunk, public=share.is_public)
    SERVING.set(share)
    name = f"channel-{share.number}" if share.open == "name" else None
    return await node.share_open(path, name, chunk_size=share.chunk)


async def do_job(
    node: shoal.Node,
    state: JobState,
    name: Link | Channel,
    share: Share,
    seed: int,
    report: Callable[[str], None],
) -> Any:
    """Fetch or read what a link or channel names; return what a fetch returns.

    `report` is called if a reader of a sealed share reads wrong bytes.
    """
    if isinstance(name, Channel):
        return await _do_open(node, state, name, share, share.data(seed, ""))
    job = state.job
    if job.kind == "fetch":
        return await node.fetch(
            name,
            state.out,
            timeout=job.timeout,
            seed=job.seed,
            exclude=job.exclude or (),
        )
    rng = Random(f"{seed} read {job}")
    for _ in range(READS):
        await _read_part(node, state, name, share, seed, rng, report)
    return None


async def _read_part(
    node: shoal.Node,
    state: JobState,
    link: Link,
    share: Share,
    seed: int,
    rng: Random,
    report: Callable[[str], None],
) -> None:
    """Read a part of one file, and compare it."""
    name = rng.choice([name for name, _ in share.files])
    true = share.data(seed, name)
    file = await node.open(link, name or None, timeout=state.job.timeout)
    try:
        start = rng.randint(0, len(true))
        size = rng.randint(0, 3 * CHUNK)
        if share.chunk > CHUNK:  # of blocks: also longer ranges
            size *= rng.choice([1, 1, 5, 20])
        file.seek(start)
        data = await file.read(size)
    finally:
        await file.aclose()
    if not true[start:].startswith(data) or (size and not data) != (
        bool(size) and start == len(true)
    ):
        report(f"{state} read wrong bytes of {name!r} at {start}")


async def _do_open(
    node: shoal.Node, state: JobState, channel: Channel, share: Share, data: bytes
) -> Any:
    """Fetch an open channel, or keep in `state` what is read of it."""
    SERVING.set(share)
    job = state.job
    if job.kind == "fetch":
        return await node.fetch_open(
            channel, state.out, seed=job.seed, timeout=job.timeout
        )
    if job.kind == "read":
        async with aclosing(node.stream_open(channel, timeout=job.timeout)) as blocks:
            state.read = b""
            async for block in blocks:
                state.read += block
        return None
    chunks = Chunks(len(data), share.chunk)
    state.index = Random(f"chunk {job}").randrange(chunks.count)
    state.read = await node.fetch_chunk(channel, state.index, timeout=job.timeout)
    return None
