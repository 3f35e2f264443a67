"""Read an open channel from its first byte to its last, in bounded memory.

`ChannelStream` downloads like `ChannelDownloader`, but into memory, and requests only
the chunks of a window after the reader's position. Nothing is written to the disk, so
there is nothing to resume.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

from msgspec.structs import replace

from shoal.channel.downloader import ChannelDownloader
from shoal.channel.servers import Server
from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.names.channel_id import Channel
from shoal.core.report.events import DownloadEvent
from shoal.core.report.stall import DownloadState
from shoal.core.wire.handshake import Offer
from shoal.errors import UnfinishedError
from shoal.resources import Resources
from shoal.storage.disk.disk import Data
from shoal.storage.store import DownloadStore, check_length
from shoal.transfer.dialler import Found
from shoal.transfer.download import Download

__all__ = ["ChannelStream", "StreamStore"]

WINDOW = 16 * 1024 * 1024  # bytes that are requested beyond the reader's position
BLOCK = 256 * 1024  # bytes that the reader gets at once, or one chunk if that is more


class StreamStore(DownloadStore):
    """Keep verified chunks in memory until they are taken."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks
        """How the file is divided."""
        self.have = Bitfield(chunks.count)
        """The chunks that were put, including those that were taken since."""
        self._kept: dict[int, bytes] = {}

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Keep copies of verified chunks; the caller reuses its buffers."""
        for index, data in items:
            check_length(self.chunks, index, data)
            if self.have.add(index):
                self._kept[index] = bytes(data)

    def get(self, index: int) -> bytes:
        """Return a chunk; raise `KeyError` if it is missing or was taken."""
        return self._kept[index]

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk; raise `KeyError` if it is missing or was taken."""
        return self._kept[index]

    def take(self, index: int) -> bytes | None:
        """Remove and return a chunk; return None if it is missing."""
        return self._kept.pop(index, None)


class ChannelStream(ChannelDownloader):
    """Fetch the chunks of an open channel in order."""

    def __init__(
        self,
        channel: Channel,
        resources: Resources,
        *,
        timeout: float | None,
        on_event: Callable[[DownloadEvent], None],
    ) -> None:
        """Prepare to read; `timeout` is the longest wait for a new chunk."""
        super().__init__(
            channel, self._open, resources, timeout=timeout, on_event=on_event
        )
        self._store: StreamStore | None = None
        self._position = 0  # the next chunk to yield
        self._end_of_window = 0
        self._changed = asyncio.Event()

    async def blocks(self, found: Iterable[Found]) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the file in order, in blocks of whole chunks.

        Bytes of a hash channel are verified, and yielded only once its size is proven.
        Raises what `run` raises.
        """
        running = self._loop.create_task(self._run_as_call(found))
        running.add_done_callback(lambda _: self._changed.set())
        try:
            while not running.done():
                self._changed.clear()
                while block := self._take_block():
                    yield block
                    # The time in which the reader was busy is no wait for a chunk.
                    self._monitor.on_verified()
                    self._move_window()
                if self._is_read:
                    self._end(None)
                await self._changed.wait()
            running.result()
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def _run_as_call(self, found: Iterable[Found]) -> None:
        """Download until the node closes.

        Not the generator: its consumer would be cancelled at any of its own awaits.
        """
        async with self._resources.call():
            await self.run(found)

    @property
    def _is_read(self) -> bool:
        store = self._store
        return store is not None and self._position == store.chunks.count

    def _take_block(self) -> bytes:
        """Return the next chunks, if they have arrived."""
        store, download = self._store, self._download
        if store is None or download is None or download.store is not store:
            return b""
        if self._channel.is_hash and not download.is_proven:
            return b""
        taken: list[bytes] = []
        size = 0
        while size < BLOCK and (data := store.take(self._position)) is not None:
            taken.append(data)
            size += len(data)
            self._position += 1
        return b"".join(taken)

    def _move_window(self) -> None:
        """Request more chunks once half of the window was read."""
        if self._store is None or self._download is None:
            return
        chunks = self._store.chunks
        width = _window(chunks)
        end = min(self._position + width, chunks.count)
        if end - self._end_of_window >= width // 2 or end == chunks.count:
            more = range(self._end_of_window, end)
            self._end_of_window = end
            self._download.want(more)

    # How this differs from a download to the disk.

    def _open(
        self, chunks: Chunks, offer: Offer | None, stopped: Callable[[], bool]
    ) -> StreamStore:
        if self._position:
            raise UnfinishedError(
                "The remaining servers disagree about the size of the file, and part "
                "of it was already read; start again."
            )
        self._end_of_window = min(_window(chunks), chunks.count)
        self._store = StreamStore(chunks)
        return self._store

    def _make_download(self, store: DownloadStore) -> Download[Server]:
        """Return a download of the last chunk, which proves the size, then in order."""
        download = Download(store, self._offer, self, self._resources, wanted=())
        download.want(range(store.chunks.count)[-1:])
        download.want(range(self._end_of_window))
        return download

    def _outlook(self) -> DownloadState:
        # Nothing is kept for another run.
        return replace(super()._outlook(), is_begun=False)

    def on_batch_verified(self) -> None:
        """Wake up the reader."""
        self._monitor.on_verified()
        self._changed.set()

    def _on_complete(self, download: Download[Server]) -> None:
        self._changed.set()


def _window(chunks: Chunks) -> int:
    """Return how many chunks are requested ahead."""
    return max(WINDOW // chunks.chunk_size, 2)
