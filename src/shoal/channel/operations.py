"""Share and fetch open channels with the resources of a node.

The listeners, connections and files that these functions open are closed with the node.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from hashlib import sha256
from pathlib import Path

from shoal.channel.downloader import ChannelDownloader, Fetched
from shoal.channel.server import ChannelServer
from shoal.channel.stream import ChannelStream
from shoal.config.arguments import AnyPath, FetchOptions, ShareOptions
from shoal.core.manifest.chunks import Chunks, check_chunk_size
from shoal.core.names.channel_id import Channel, check_name, hash_channel, parse_channel
from shoal.core.report.events import DownloadEvent
from shoal.core.wire.handshake import (
    DEFAULT_CHUNK_SIZE,
    DIGEST_SIZE,
    Offer,
    check_fits,
    encode_handshake,
)
from shoal.discovery.base import Discovery
from shoal.errors import (
    UnfinishedError,
    first_error,
)
from shoal.resources import Resources
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.download.completed import open_verified_target
from shoal.storage.download.filestore import FileStore
from shoal.storage.download.staging import Staging
from shoal.storage.shared.hashing import hash_chunks
from shoal.storage.shared.shared_files import SharedFiles
from shoal.storage.store import DownloadStore
from shoal.transport.listen import Listener, bind_all

__all__ = ["ChannelTarget", "OpenShare", "fetch_open", "share_open", "stream_open"]


class OpenShare:
    """An open channel that a node serves until the node is closed."""

    def __init__(
        self,
        channel: Channel,
        port: int,
        uploads: ChannelServer,
        announcing: asyncio.Task[None],
    ) -> None:
        self.channel = channel
        """The channel; other machines fetch it by its `id`."""
        self.port = port
        """TCP port that the channel is served on."""
        self.uploads = uploads
        """The server: its connections, and how much it sent."""
        self._announcing = announcing

    def __repr__(self) -> str:
        return f"<OpenShare of {self.channel.id!r}, served on port {self.port}>"

    @property
    def uploaded(self) -> int:
        """Return the number of bytes of chunks sent to clients."""
        return self.uploads.sent

    @property
    def peer_count(self) -> int:
        """Return how many clients are connected."""
        return len(self.uploads)

    @property
    def completed(self) -> int:
        """Return 0: a client of a channel does not tell what it has."""
        return 0

    async def until_left(self) -> None:
        """Wait until the node closes; raise the error if announcing fails."""
        await asyncio.wait([self._announcing])
        if not self._announcing.cancelled():
            self._announcing.result()


class ChannelTarget:
    """The file that a download of a channel creates; every method blocks."""

    def __init__(
        self, path: Path, channel: Channel, disk: Disk, *, overwrite: bool, seed: bool
    ) -> None:
        """Check whether the download may create the file.

        Raises `TargetExistsError` for an existing file, except with `overwrite`, or
        with `seed`, which verifies and serves it; `StoreError` for a missing folder.
        """
        self.path = path
        self._channel = channel
        self._disk = disk
        self._overwrite = overwrite
        self._exists = seed and not overwrite and disk.state_at(path) is not None
        if not self._exists:
            Staging(path, channel.identity, disk).check_target(overwrite=overwrite)

    def open_store(
        self, chunks: Chunks, offer: Offer | None, stopped: Callable[[], bool]
    ) -> DownloadStore:
        """Open the store for these sizes; verifying existing data can take minutes.

        Raises what the store raises, and `UnfinishedError` if `stopped` returns True.
        """
        verify = None if offer is None else self._make_verify(offer, stopped)
        identity = self._identity(chunks)
        if self._exists:
            return open_verified_target(
                self.path, chunks, verify, disk=self._disk, identity=identity
            )
        return FileStore.open(
            self.path,
            identity,
            chunks,
            disk=self._disk,
            overwrite=self._overwrite,
            verify=verify,
        )

    def _identity(self, chunks: Chunks) -> bytes:
        """Return 32 bytes that identify this download in the staging folder's name.

        They cover the sizes, which are only a server's claim: a download with wrong
        sizes must not use or replace the staging folder of another run.
        """
        sizes = f"{chunks.size} {chunks.chunk_size}"
        return sha256(self._channel.identity + sizes.encode()).digest()

    def _make_verify(
        self, offer: Offer, stopped: Callable[[], bool]
    ) -> Callable[[int, Data], bool]:
        def verify(index: int, data: Data) -> bool:
            if stopped():
                raise UnfinishedError.again(
                    f"Stopped before all of {self.path} was verified"
                )
            return offer.verifies(index, data)

        return verify


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
    check_chunk_size(chunk_size)
    if isinstance(channel, str):
        channel = check_name(channel)
    async with resources.call():
        if channel is None:
            await _check_before_hashing(resources, Path(path), chunk_size)
        files = await _open_files(resources, Path(path), chunk_size)
        if channel is not None:
            return await _serve(resources, files, channel, None)
        return await _hash_and_serve(resources, files, on_hashed)


async def _check_before_hashing(
    resources: Resources, path: Path, chunk_size: int
) -> None:
    """Raise `UsageError` for too many chunks, `NetworkError` for a port in use."""
    state = await resources.in_thread(
        partial(resources.disk.state_at, path, follow=True)
    )
    if state is not None:
        check_fits(Chunks(state.size, chunk_size))
    if resources.settings.port:
        hosts = resources.networks.hosts()
        for each in bind_all(hosts, resources.settings.port).values():
            each.close()


async def _hash_and_serve(
    resources: Resources, files: SharedFiles, on_hashed: Callable[[int, int], None]
) -> OpenShare:
    digests = await resources.in_stoppable_thread(
        lambda stopped: hash_chunks(
            files,
            _digest,
            progress=lambda done: on_hashed(done, files.chunks.size),
            stopped=stopped,
        ),
        is_hashing=True,
    )
    return await _serve_hashed(resources, files, digests)


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
    disk, path = resources.disk, Path(target)
    async with resources.call():
        checked = await resources.in_thread(
            partial(ChannelTarget, path, channel, disk, overwrite=overwrite, seed=seed)
        )
        downloader = ChannelDownloader(
            channel, checked.open_store, resources, timeout=timeout, on_event=on_event
        )
        fetched = await downloader.run(resources.networks.find(channel.topic))
        return await _seed(resources, path, channel, fetched) if seed else None


async def stream_open(
    resources: Resources,
    channel: str | Channel,
    timeout: float | None,
    on_event: Callable[[DownloadEvent], None],
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of an open channel in order; see `Node.stream_open`."""
    if isinstance(channel, str):
        channel = parse_channel(channel)
    stream = ChannelStream(channel, resources, timeout=timeout, on_event=on_event)
    async with aclosing(
        stream.blocks(resources.networks.find(channel.topic))
    ) as blocks:
        async for block in blocks:
            yield block


async def _seed(
    resources: Resources, path: Path, channel: Channel, fetched: Fetched
) -> OpenShare:
    files = await _open_files(resources, path, fetched.chunks.chunk_size)
    if fetched.offer is None:
        return await _serve(resources, files, channel, None)
    return await _serve_hashed(resources, files, fetched.offer.digests)


async def _open_files(resources: Resources, path: Path, chunk_size: int) -> SharedFiles:
    disk = resources.disk
    files = await resources.in_thread(
        partial(SharedFiles.open_file, path, chunk_size, disk=disk), SharedFiles.close
    )
    resources.own_source(files)
    return files


async def _serve_hashed(
    resources: Resources, files: SharedFiles, digests: bytes
) -> OpenShare:
    chunks = files.chunks
    files.verify = Offer(digests, chunks.chunk_size, chunks.size).verifies
    starts = range(0, len(digests), DIGEST_SIZE)
    channel = hash_channel(digests[i : i + DIGEST_SIZE] for i in starts)
    handshake = encode_handshake(digests, chunks)
    return await _serve(resources, files, channel, handshake)


async def _serve(
    resources: Resources, files: SharedFiles, channel: Channel, handshake: bytes | None
) -> OpenShare:
    """Listen first, then announce, so that every client that finds us is answered."""
    server = ChannelServer(files, handshake, resources)
    networks = resources.networks
    listener = Listener(
        server.accept,
        hosts=networks.hosts(),
        port=resources.settings.port,
        make_room=server.make_room,
    )
    resources.own(server.aclose)
    resources.own(listener.aclose)
    networks.keep_listening(listener.listen_on)
    networks.map_port(listener.port)
    announcing = resources.own_task(_announce(resources, channel.topic, listener.port))
    return OpenShare(channel, listener.port, server, announcing)


async def _announce(resources: Resources, topic: bytes, port: int) -> None:
    """Announce the channel on all networks; ignore the addresses found there."""

    async def announce(network: Discovery) -> None:
        joined = resources.join(network, topic, port, lambda: False)
        async with aclosing(joined) as found:
            async for _ in found:
                pass

    try:
        async with asyncio.TaskGroup() as tasks:
            for network in resources.networks.discovery():
                tasks.create_task(announce(network))
            await asyncio.Event().wait()  # even if no network is left
    except BaseExceptionGroup as group:
        raise first_error(group) from None


def _digest(data: bytes | bytearray | memoryview) -> bytes:
    return sha256(data).digest()
