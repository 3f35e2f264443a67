"""What a simulated machine does on open channels: serve, fetch, stream, one chunk."""

from contextlib import aclosing
from random import Random
from typing import Any

import shoal
from shoal.core.manifest.chunks import Chunks
from shoal.core.names.channel_id import Channel
from tests.simulator.jobs import JobState
from tests.simulator.open_network import SERVING
from tests.simulator.plan import Share

__all__ = ["do_open", "serve_open"]


async def serve_open(node: shoal.Node, share: Share, path: Any) -> Any:
    """Serve a file over a hash channel or a named one."""
    SERVING.set(share)
    name = f"channel-{share.number}" if share.open == "name" else None
    return await node.share_open(path, name, chunk_size=share.chunk)


async def do_open(
    node: shoal.Node, state: JobState, channel: Channel, share: Share, data: bytes
) -> Any:
    """Fetch an open channel; return the share that follows, or the bytes read."""
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
