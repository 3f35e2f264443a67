"""An origin as one that chunks are asked of, beside peers.

It is asked for runs of adjacent chunks, some at once, and gives each chunk as soon as
its last byte is there. What becomes of one that fails is not its own business.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Protocol

from shoal.core.manifest.manifest import Manifest
from shoal.core.report.status import PeerStatus
from shoal.core.schedule.origin_parts import parts_of, runs_of
from shoal.core.schedule.window import ORIGIN_RUNS
from shoal.core.session.session import ChunkReceived
from shoal.errors import PeerError
from shoal.origin.base import ByteSource, FileError

__all__ = ["Origin", "OriginClient", "read_run"]


class OriginClient(Protocol):
    """Hear what an origin does; called on the event loop only."""

    def on_asked(self, origin: "Origin", indexes: Sequence[int]) -> None:
        """Note chunks that are about to come from it."""

    async def settle(self, origin: "Origin", run: range) -> list[int]:
        """Return which of these are to be asked for after all."""

    def on_bytes(self, origin: "Origin") -> None:
        """Note that it is alive."""

    def on_given(self, origin: "Origin", chunk: ChunkReceived) -> None:
        """Take a chunk."""

    def on_lacking(self, origin: "Origin", run: range, error: FileError) -> None:
        """Ask others for chunks of a file that it has not."""

    def on_failed(self, origin: "Origin", error: PeerError) -> None:
        """Leave it alone for a while."""

    def on_broken(self, error: BaseException) -> None:
        """End with an error that is nobody's but ours."""


class Origin:
    """Ask one origin for chunks of one share; satisfies `SealedGiver`."""

    def __init__(
        self, source: ByteSource, manifest: Manifest, client: OriginClient
    ) -> None:
        """Ask for nothing yet."""
        self.source = source
        """Where the bytes come from."""
        self.path = "origin"
        """How it is reached, in the words of `status`."""
        self.verified = 0
        """Chunks that it gave and that verified."""
        self._received = 0  # bytes of them
        self.outstanding: set[int] = set()
        """Chunks that it was asked for and has not given."""
        self._manifest = manifest
        self._client = client
        self._turns = asyncio.Semaphore(ORIGIN_RUNS)
        self._tasks: dict[asyncio.Task[None], range] = {}

    def status(self) -> PeerStatus:
        """Return what it is and what it gave."""
        count = self._manifest.chunks.count
        name, path = self.source.name, self.path
        return PeerStatus(id(self), name, path, path, count, self._received, 0)

    def on_verified(self, size: int) -> None:
        """Note a chunk of `size` bytes that it gave and that verified."""
        self.verified += 1
        self._received += size

    def ask(self, indexes: Iterable[int]) -> None:
        """Ask for chunks."""
        listed = list(indexes)
        self.outstanding.update(listed)
        for run in runs_of(listed):
            task = asyncio.get_running_loop().create_task(self._give(run))
            self._tasks[task] = run
            task.add_done_callback(self._tasks.pop)
        self._client.on_asked(self, listed)

    def ask_any(self, number: int) -> None:
        """Refuse: an origin does not know who has what."""
        raise AssertionError("an origin does not choose")

    def cancel(self, indexes: Iterable[int]) -> None:
        """Take requests back, as far as whole runs are not wanted any more."""
        self.outstanding.difference_update(indexes)
        for task, run in self._tasks.items():
            if self.outstanding.isdisjoint(run):
                task.cancel()

    def stop(self) -> None:
        """Take all requests back."""
        self.outstanding.clear()
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Take all requests back and let go of connections; idempotent."""
        self.stop()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        await self.source.aclose()

    async def _give(self, run: range) -> None:
        try:
            for each in runs_of(await self._client.settle(self, run)):
                async with self._turns:
                    await self._read(each)
        except FileError as error:
            self._client.on_lacking(self, run, error)
        except PeerError as error:
            self._client.on_failed(self, error)
        except Exception as error:
            self._client.on_broken(error)

    async def _read(self, run: range) -> None:
        reading = read_run(self.source, self._manifest, run, self._on_bytes)
        async with aclosing(reading) as chunks:
            async for index, data in chunks:
                self.outstanding.discard(index)
                self._client.on_given(self, ChunkReceived(index, data, None))

    def _on_bytes(self) -> None:
        self._client.on_bytes(self)


async def read_run(
    source: ByteSource,
    manifest: Manifest,
    run: range,
    on_bytes: Callable[[], None] = lambda: None,
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the index and the bytes of adjacent chunks, not verified.

    Raises what the source raises.
    """
    waiting = iter(run)
    index = next(waiting)
    pieces: list[memoryview] = []
    missing = manifest.chunks.length(index)
    for part in parts_of(manifest, run):
        async with aclosing(source.read(part)) as blocks:
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
