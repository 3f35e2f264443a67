"""An origin as a source of chunks, beside the peers.

An origin is a web server, an object store or a folder that holds the files of a share
but does not speak to peers. `Origin` requests runs of adjacent chunks from its reader,
several at once, and hands on each chunk as soon as its last byte has arrived. The
bytes are not verified here; verification and retries are up to the client.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from shoal.core.report.status import PeerStatus
from shoal.core.schedule.origin_requests import ORIGIN_RUNS
from shoal.core.session.events import ChunkReceived
from shoal.errors import PeerError
from shoal.origin.parts import (
    ChunkCollector,
    OriginFileError,
    OriginReader,
    Part,
    parts_of,
)

if TYPE_CHECKING:  # it is never created here
    from shoal.core.manifest.manifest import Manifest

__all__ = ["Origin", "OriginClient", "OriginState", "RunRequest", "runs_of"]


def runs_of(indexes: Iterable[int]) -> Iterator[range]:
    """Yield runs of adjacent chunks, in the order of `indexes`."""
    for _, run in groupby(enumerate(indexes), lambda each: each[1] - each[0]):
        listed = [index for _, index in run]
        yield range(listed[0], listed[-1] + 1)


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

    def on_read(self, origin: "Origin", left: Iterable[int]) -> None:
        """Note that a request has ended without the chunks in `left`."""

    def on_missing_file(
        self, origin: "Origin", indexes: Iterable[int], error: OriginFileError
    ) -> None:
        """Note that the origin cannot serve these chunks because of a file."""

    def on_failed(self, origin: "Origin", error: PeerError) -> None:
        """Note that a request failed."""

    def on_broken(self, error: BaseException) -> None:
        """Handle an unexpected error, which is a fault in shoal itself."""

    # An origin that ignores ranges sends whole files.

    def on_range(self, origin: "Origin", *, is_ignored: bool) -> None:
        """Note whether the origin ignored a range."""

    def may_stream(self, origin: "Origin") -> bool:
        """Return True to read a whole file, from which all chunks are taken."""

    def on_stream(self, origin: "Origin") -> None:
        """Note that a whole file is read from now on."""

    def on_passed(self, origin: "Origin", index: int) -> bool:
        """Note a chunk of a whole file; return True to take it, as if requested."""

    def wants_any(self, origin: "Origin", indexes: range) -> bool:
        """Return True if one of these chunks is to be taken when it passes."""

    async def pace(self, origin: "Origin", size: int) -> None:
        """Wait until the next `size` bytes of a whole file may be received."""


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
        self.manifest = manifest
        """Says where in the files the chunks are."""
        self.client = client
        """Receives the chunks."""
        self._turns = asyncio.Semaphore(ORIGIN_RUNS)
        self._tasks: dict[asyncio.Task[None], range] = {}
        self.stream: RunRequest | None = None
        """The request that is answered by a whole file; one at a time."""

    def status(self) -> PeerStatus:
        """Return the origin's name and what was received from it."""
        count = self.manifest.chunks.count
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
        self.client.on_requested(self, listed)

    def request_any(self, number: int) -> None:
        """Refuse: an origin does not know which chunks are rare."""
        raise AssertionError("an origin does not choose")

    def cancel(self, indexes: Iterable[int]) -> None:
        """Cancel requests; a run ends once none of its chunks is requested any more."""
        self.outstanding.difference_update(indexes)
        for task, run in self._tasks.items():
            # A whole file is read for as long as it has missing chunks.
            is_stream = self.stream is not None and self.stream.task is task
            if self.outstanding.isdisjoint(run) and not is_stream:
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
            for each in runs_of(await self.client.wait_for_peers(self, run)):
                async with self._turns:
                    await self._fetch_run(each)
        except PeerError as error:
            self.client.on_failed(self, error)
        except Exception as error:
            self.client.on_broken(error)

    async def _fetch_run(self, run: range) -> None:
        request = RunRequest(self, run)
        try:
            await request.read()
        except OriginFileError as error:
            self.client.on_missing_file(self, request.indexes, error)
        finally:
            if self.stream is request:
                self.stream = None
        left = self.outstanding.intersection(request.indexes)
        self.outstanding -= left
        self.client.on_read(self, left)


class RunRequest:
    """Read one run of chunks; from a server without ranges, whole files.

    A whole file is read to its end for as long as it has missing chunks, and the next
    file for the rest of a chunk that is in both. So all missing chunks of a file cost
    one request.
    """

    def __init__(self, origin: Origin, run: range) -> None:
        """Prepare to read `run` from an origin, in the current task."""
        self.task = asyncio.current_task()
        """The task that reads."""
        self.indexes = set(run)
        """The chunks that were requested, or taken from a whole file."""
        self.span = range(0)
        """The chunks of the whole file that it reads."""
        self._origin = origin
        self._client = origin.client
        self._chunks = origin.manifest.chunks
        self._parts = deque(parts_of(origin.manifest, run))
        self._collector = ChunkCollector(self._chunks, self._takes)

    async def read(self) -> None:
        """Pass each chunk to the client; raises what the reader raises."""
        while self._parts:
            part = self._parts.popleft()
            if not await self._read_part(part):
                return
            unfinished = self._collector.unfinished
            if unfinished is not None and not self._parts:
                parts = parts_of(
                    self._origin.manifest, range(unfinished, unfinished + 1)
                )
                self._parts.extend(each for each in parts if each.begin > part.begin)

    def _takes(self, index: int) -> bool:
        outstanding = self._origin.outstanding
        if index in outstanding:
            return index in self.indexes
        if self._origin.stream is not self:
            return False
        if not self._client.on_passed(self._origin, index):
            return False
        outstanding.add(index)
        self.indexes.add(index)
        return True

    async def _read_part(self, part: Part) -> bool:
        """Read a part of a file; return False if a whole file is left to others."""
        end, is_whole = part.first + part.size, False
        async with aclosing(self._origin.reader.read(part)) as blocks:
            async for block in blocks:
                self._client.on_bytes(self._origin)
                if block.is_whole and not is_whole:
                    is_whole = True
                    if not self._begin_stream(part):
                        return False
                if is_whole:
                    await self._client.pace(self._origin, len(block.data))
                self._collect(part.begin + block.offset, block.data)
                # A reader of a range ends by itself.
                stop = block.offset + len(block.data)
                if is_whole and stop >= end and not self._wants_after(part, stop):
                    break
        if part.size < part.file_size:
            self._client.on_range(self._origin, is_ignored=is_whole)
        return True

    def _begin_stream(self, part: Part) -> bool:
        origin, size = self._origin, self._chunks.chunk_size
        self._client.on_range(origin, is_ignored=True)
        if origin.stream not in (None, self) or not self._client.may_stream(origin):
            return False
        self.span = range(part.begin // size, -(-(part.begin + part.file_size) // size))
        if origin.stream is None:
            origin.stream = self
            self._client.on_stream(origin)
        return True

    def _collect(self, offset: int, block: bytes) -> None:
        for index, data in self._collector.feed(offset, block):
            self._origin.outstanding.discard(index)
            self._client.on_chunk(self._origin, ChunkReceived(index, data, None))

    def _wants_after(self, part: Part, stop: int) -> bool:
        """Return True if a chunk that begins later in the file is to be taken."""
        if self._collector.unfinished is not None:
            return True
        first = -(-(part.begin + stop) // self._chunks.chunk_size)
        return self._client.wants_any(self._origin, range(first, self.span.stop))


class OriginState:
    """Know whether a swarm uses an origin, why not, and when it may; for `Origins`.

    Times are those of the event loop's clock, in seconds.
    """

    def __init__(self, origin: Origin, not_before: float) -> None:
        """Begin with an origin that is not used yet, and not before a time."""
        self.origin = origin
        """Sends the requests."""
        self.is_used = False
        """Whether chunks are requested from it."""
        self.is_liar = False
        """Whether it is not used because of wrong chunks."""
        self.not_before = not_before
        """When it may be used."""
        self.asked_at = 0.0
        """When the last request began."""
        self.failures = 0
        """Failed requests since a chunk from it last verified."""
        self.problem: str | None = None
        """Why it is not used, as a sentence."""

        self.missing_files = 0
        """Files that it did not have, in a row."""
        self.retry_files_at: float | None = None
        """When these may exist."""
        self.wrong = 0
        """Chunks that did not verify."""
        self.refused: set[int] = set()
        """The chunks of the files that these are in."""
        self.refused_until = 0.0
        """Until when those are not requested."""
        self.file_problem: str | None = None
        """Why it is not asked for some files, as a sentence."""

        self.stream_began = 0.0
        """When a whole file began to arrive; as all below, of the last such file."""
        self.streamed = 0
        """Bytes that have arrived."""
        self.position = 0
        """The chunk that came last."""
        self.announced = 0
        """The last chunk that peers were told of before it came."""

    @property
    def why_nothing(self) -> str | None:
        """Return why it sends nothing, as a sentence, where that is known."""
        problem = self.problem or self.file_problem
        if problem is None and self.origin.outstanding:
            name = self.origin.reader.name
            return f"The origin {name} does not answer a request."
        return problem
