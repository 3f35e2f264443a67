"""An origin as a source of chunks, beside the peers.

An origin is a web server, an object store or a folder that holds the files of a share
but does not speak to peers. An `OriginReader` yields bytes of those files, by whatever
protocol, and knows nothing of chunks. `Origin` requests runs of adjacent chunks from a
reader, several at once, and hands on each chunk as soon as its last byte has arrived.
The bytes are not verified here; verification and retries are up to the client.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Protocol

from shoal.core.report.status import PeerStatus
from shoal.core.schedule.window import ORIGIN_RUNS
from shoal.core.session.session import ChunkReceived
from shoal.errors import PeerError, option

if TYPE_CHECKING:  # it is never created here
    from shoal.core.manifest.manifest import Manifest

__all__ = [
    "Origin",
    "OriginClient",
    "OriginFileError",
    "OriginReader",
    "Part",
    "how_to_allow",
    "parts_of",
    "read_run",
    "runs_of",
]


def how_to_allow() -> str:
    """Return how the user allows an origin that only the link names."""
    return f"name it with {option('--origin')} to use it"


class Part(NamedTuple):
    """Name bytes of one file of a share."""

    path: str
    """Path within the share, with slashes; "" if the share is a single file."""
    name: str
    """Name of the share."""
    first: int
    """Offset of the first byte within the file."""
    size: int
    """Bytes, at least one."""
    file_size: int
    """Bytes of the whole file."""


def parts_of(manifest: "Manifest", run: range) -> list[Part]:
    """Return the parts of files that adjacent chunks consist of, in order.

    Raises `LookupError` while the files are not known.
    """
    first, end = map(manifest.chunks.offset, (run.start, run.stop))
    name, is_folder = manifest.root.name, manifest.root.is_folder
    return [
        Part(file.path if is_folder else "", name, start, length, file.size)
        for file, start, length in manifest.spans(first, end)
    ]


def runs_of(indexes: Iterable[int]) -> Iterator[range]:
    """Yield runs of adjacent chunks, in the order of `indexes`."""
    for _, run in groupby(enumerate(indexes), lambda each: each[1] - each[0]):
        listed = [index for _, index in run]
        yield range(listed[0], listed[-1] + 1)


class OriginFileError(PeerError):
    """Report that one file at an origin is missing or differs; others may be usable."""


class OriginReader(Protocol):
    """Read bytes of the files of a share at one origin."""

    @property
    def name(self) -> str:
        """Return the origin's name for messages, without any secret in its URL."""

    def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Yield exactly the bytes of `part`, in blocks as they arrive.

        Raises `OriginFileError` if other files may still be readable, otherwise
        another `PeerError`.
        """

    async def aclose(self) -> None:
        """Close all connections; idempotent."""


class OriginClient(Protocol):
    """Receive what an origin does; all methods are called on the event loop."""

    def on_requested(self, origin: "Origin", indexes: Sequence[int]) -> None:
        """Note chunks that are about to be requested."""

    async def wait_for_peers(self, origin: "Origin", run: range) -> list[int]:
        """Return the chunks of `run` that should still be requested."""

    def on_bytes(self, origin: "Origin") -> None:
        """Note that the origin sent some bytes."""

    def on_chunk(self, origin: "Origin", chunk: ChunkReceived) -> None:
        """Take a chunk, not verified."""

    def on_missing_file(
        self, origin: "Origin", run: range, error: OriginFileError
    ) -> None:
        """Note that the origin cannot serve `run` because of one of its files."""

    def on_failed(self, origin: "Origin", error: PeerError) -> None:
        """Note that a request failed."""

    def on_broken(self, error: BaseException) -> None:
        """Handle an unexpected error, which is a fault in shoal itself."""


class Origin:
    """Request chunks of one share from one origin."""

    def __init__(
        self, reader: OriginReader, manifest: "Manifest", client: OriginClient
    ) -> None:
        """Prepare an origin; nothing is requested yet."""
        self.reader = reader
        """Reads the files at the origin."""
        self.path = "origin"
        """How it was found, as `PeerStatus.path` has it."""
        self.verified = 0
        """Number of chunks from this origin that verified."""
        self._received = 0  # bytes of them
        self.outstanding: set[int] = set()
        """Chunks that were requested and have not arrived."""
        self._manifest = manifest
        self._client = client
        self._turns = asyncio.Semaphore(ORIGIN_RUNS)
        self._tasks: dict[asyncio.Task[None], range] = {}

    def status(self) -> PeerStatus:
        """Return the origin's name and what was received from it."""
        count = self._manifest.chunks.count
        name, path = self.reader.name, self.path
        return PeerStatus(id(self), name, path, path, count, self._received, 0)

    def on_verified(self, chunks: int, size: int) -> None:
        """Note verified chunks of `size` bytes in all."""
        self.verified += chunks
        self._received += size

    def request(self, indexes: Iterable[int]) -> None:
        """Request chunks."""
        listed = list(indexes)
        self.outstanding.update(listed)
        for run in runs_of(listed):
            task = asyncio.get_running_loop().create_task(self._fetch(run))
            self._tasks[task] = run
            task.add_done_callback(self._tasks.pop)
        self._client.on_requested(self, listed)

    def request_any(self, number: int) -> None:
        """Refuse: an origin does not know which chunks are rare."""
        raise AssertionError("an origin does not choose")

    def cancel(self, indexes: Iterable[int]) -> None:
        """Cancel requests; a run ends once none of its chunks is requested any more."""
        self.outstanding.difference_update(indexes)
        for task, run in self._tasks.items():
            if self.outstanding.isdisjoint(run):
                task.cancel()

    def stop(self) -> None:
        """Cancel all requests."""
        self.outstanding.clear()
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Cancel all requests and close the connections; idempotent."""
        self.stop()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        await self.reader.aclose()

    async def _fetch(self, run: range) -> None:
        try:
            for each in runs_of(await self._client.wait_for_peers(self, run)):
                async with self._turns:
                    await self._fetch_run(each)
        except OriginFileError as error:
            self._client.on_missing_file(self, run, error)
        except PeerError as error:
            self._client.on_failed(self, error)
        except Exception as error:
            self._client.on_broken(error)

    async def _fetch_run(self, run: range) -> None:
        reading = read_run(
            self.reader, self._manifest, run, partial(self._client.on_bytes, self)
        )
        async with aclosing(reading) as chunks:
            async for index, data in chunks:
                self.outstanding.discard(index)
                self._client.on_chunk(self, ChunkReceived(index, data, None))


async def read_run(
    reader: OriginReader,
    manifest: "Manifest",
    run: range,
    on_bytes: Callable[[], None] = lambda: None,
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the index and the bytes of each chunk of a run; nothing is verified.

    `on_bytes` is called for each block that arrives. Raises what the reader raises.
    """
    waiting = iter(run)
    index = next(waiting)
    pieces: list[memoryview] = []
    missing = manifest.chunks.length(index)
    for part in parts_of(manifest, run):
        async with aclosing(reader.read(part)) as blocks:
            async for block in blocks:
                on_bytes()
                view = memoryview(block)
                while view:
                    pieces.append(view[:missing])
                    view = view[missing:]
                    missing -= len(pieces[-1])
                    if not missing:
                        yield index, b"".join(pieces)
                        pieces.clear()
                        index = next(waiting, run.stop)
                        missing = manifest.chunks.length(index)
