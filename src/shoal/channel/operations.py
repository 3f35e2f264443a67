"""Open channels, as a node shares and fetches them.

Each function does one thing with the resources of a node; what it opens ends with
them.
"""

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from hashlib import sha256
from pathlib import Path

from shoal.channel.downloader import Fetched, Swarm
from shoal.channel.server import Uploads
from shoal.channel.target import Target
from shoal.config.options import AnyPath, FetchOptions, ShareOptions
from shoal.core.names.channel_id import Channel, check_name, hash_channel, parse_channel
from shoal.core.report.events import DownloadEvent, Notice
from shoal.core.wire.handshake import (
    DEFAULT_CHUNK_SIZE,
    DIGEST_SIZE,
    Offer,
    check_fits,
    encode_handshake,
)
from shoal.discovery.base import Discovery
from shoal.resources import Resources
from shoal.storage.shared.hashing import hash_chunks
from shoal.storage.shared.shared_files import SharedFiles
from shoal.transport.listen import Listener

__all__ = ["OpenShare", "announce", "fetch_open", "share_open"]


class OpenShare:
    """An open channel that a node serves until the node is closed."""

    def __init__(self, channel: Channel, port: int, uploads: Uploads) -> None:
        self.channel = channel
        """Its `id` is what others pass to `get`."""
        self.port = port
        """TCP port that it is served on."""
        self.uploads = uploads
        """Who is connected and what was sent."""

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were given to others."""
        return self.uploads.sent


async def share_open(
    resources: Resources,
    path: AnyPath,
    channel: str | Channel | None,
    chunk_size: int | None,
    on_hashed: Callable[[int, int], None],
) -> OpenShare:
    """Serve a file over the named channel, or over a hash channel if it is None."""
    if chunk_size is None:
        chunk_size = ShareOptions.of().chunk_size or DEFAULT_CHUNK_SIZE
    if isinstance(channel, str):
        channel = check_name(channel)
    source = await _open_source(resources, Path(path), chunk_size)
    if channel is not None:
        return await _serve(resources, source, channel, None)
    check_fits(source.chunks)
    digests = await resources.in_thread(
        partial(
            hash_chunks,
            source,
            _digest,
            progress=lambda done: on_hashed(done, source.chunks.size),
            stopped=lambda: resources.is_stopped,
        )
    )
    return await _serve_hashed(resources, source, digests)


async def fetch_open(
    resources: Resources,
    channel: str | Channel,
    target: AnyPath,
    *,
    overwrite: bool | None,
    seed: bool | None,
    timeout: float | None,
    on_event: Callable[[DownloadEvent], None],
) -> OpenShare | None:
    """Fetch an open channel to `target`; with `seed`, serve it afterwards.

    An option that is None has the value of `FetchOptions`.
    """
    defaults = FetchOptions.of()
    overwrite = defaults.overwrite if overwrite is None else overwrite
    seed = defaults.seed if seed is None else seed
    if isinstance(channel, str):
        channel = parse_channel(channel)
    disk, target = resources.disk, Path(target)
    place = await resources.in_thread(
        partial(Target, target, channel, disk, overwrite=overwrite, seed=seed)
    )
    swarm = Swarm(
        channel,
        place.open_store,
        resources,
        timeout=timeout,
        on_event=on_event,
        search=resources.networks.search,
    )
    fetched = await swarm.run(resources.networks.find(channel.topic))
    return await _seed(resources, target, channel, fetched) if seed else None


async def announce(
    resources: Resources, network: Discovery, topic: bytes, port: int
) -> None:
    """Be found on one network; what it reports is of no interest."""
    async with aclosing(resources.join(network, topic, port)) as found:
        async for _ in found:
            pass


async def _seed(
    resources: Resources, target: Path, channel: Channel, fetched: Fetched
) -> OpenShare:
    source = await _open_source(resources, target, fetched.chunks.chunk_size)
    if fetched.offer is None:
        return await _serve(resources, source, channel, None)
    return await _serve_hashed(resources, source, fetched.offer.digests)


async def _open_source(
    resources: Resources, path: Path, chunk_size: int
) -> SharedFiles:
    disk = resources.disk
    source = await resources.in_thread(
        partial(SharedFiles.open, [path], chunk_size, disk=disk)
    )
    resources.own_source(source)
    return source


async def _serve_hashed(
    resources: Resources, source: SharedFiles, digests: bytes
) -> OpenShare:
    chunks = source.chunks
    source.verify = Offer(digests, chunks.chunk_size, chunks.size).verifies
    starts = range(0, len(digests), DIGEST_SIZE)
    channel = hash_channel(digests[i : i + DIGEST_SIZE] for i in starts)
    handshake = encode_handshake(digests, chunks)
    return await _serve(resources, source, channel, handshake)


async def _serve(
    resources: Resources, source: SharedFiles, channel: Channel, handshake: bytes | None
) -> OpenShare:
    """Listen, then announce: whoever finds us is answered."""
    uploads = Uploads(
        source,
        handshake,
        resources,
        on_problem=lambda problem: resources.on_notice(Notice(str(problem))),
    )
    networks = resources.networks
    listener = await Listener.open(
        uploads.accept,
        hosts=networks.hosts(),
        port=resources.settings.port,
        make_room=uploads.make_room,
    )
    resources.owned.push_async_callback(uploads.aclose)
    resources.owned.push_async_callback(listener.aclose)
    for network in networks.discovery():
        resources.own_task(announce(resources, network, channel.topic, listener.port))
    return OpenShare(channel, listener.port, uploads)


def _digest(data: bytes | bytearray | memoryview) -> bytes:
    return sha256(data).digest()
