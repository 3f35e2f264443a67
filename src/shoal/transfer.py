"""One attempt at a download: chunks asked for, verified, written.

`Transfer` is the single owner of the picker and of what each server was asked
for. It begins when the sizes are settled and the store is open. It never chooses
whom to talk to: servers are given to it and taken from it, and a liar is reported
to its `Watcher`.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from random import Random
from typing import Protocol

from shoal.core.framing import BufferPool
from shoal.core.handshake import Offer
from shoal.core.picker import ChunkPicker
from shoal.core.session import ChunkReceived
from shoal.core.window import RequestWindow
from shoal.storage.download import DownloadStore
from shoal.transport.servers import Server
from shoal.writer import Arrived, ChunkWriter, Verdict

__all__ = ["Transfer", "Watcher"]

IN_FLIGHT_LIMIT = 64 * 1024 * 1024  # bytes asked for or waiting for their verdict
# What waits for its verdict should still be in the processor's cache by then, or
# hashing and writing it cost half as much again.
BACKLOG_LIMIT = 4 * 1024 * 1024  # bytes waiting for their verdict


class Watcher(Protocol):
    """Hear how a transfer goes; called on the event loop only."""

    def on_verified(self, server: Server) -> None:
        """Take note of a chunk that is verified and written."""

    def on_lie(self, server: Server, index: int) -> None:
        """Get rid of a server whose chunk did not verify."""

    def on_wrong_sizes(self) -> None:
        """Give up this attempt: a chunk with the right hash has another length."""

    def on_complete(self) -> None:
        """Finish: every chunk is verified and written."""

    def on_error(self, error: BaseException) -> None:
        """Give up: the store failed."""


class Transfer:
    """Fetch the chunks that a store is missing."""

    def __init__(
        self,
        store: DownloadStore,
        offer: Offer | None,
        watcher: Watcher,
        executor: Executor,
        *,
        rng: Random,
        pool: BufferPool,
    ) -> None:
        """Begin with what `store` has; without an `offer` nothing is verified."""
        self.store = store
        self.chunks = store.chunks
        self.offer = offer
        self.done = sum(map(self.chunks.length, store.have))
        """Bytes verified and written."""
        # The writer adds to the store's own bitfield, in its thread.
        have = type(store.have).from_bytes(bytes(store.have), store.have.size)
        last = range(self.chunks.count)[-1:]
        self._verified = len(have)
        self._picker: ChunkPicker[Server] = ChunkPicker(have, rng, first=last)
        self._writer = ChunkWriter(
            store,
            offer,
            executor,
            pool=pool,
            on_verdicts=self._on_verdicts,
            on_error=watcher.on_error,
        )
        self._watcher = watcher
        self._pool = pool
        self._windows: dict[Server, RequestWindow] = {}
        self._clock = asyncio.get_running_loop().time

    @property
    def is_proven(self) -> bool:
        """Say whether chunks that verified prove the sizes.

        Any chunk but the last proves the chunk size, the last one the file's.
        """
        last = self.chunks.count - 1
        return self.offer is not None and (
            last < 0 or (self._picker.has(last) and (last == 0 or self._verified > 1))
        )

    @property
    def is_complete(self) -> bool:
        """Say whether every chunk is verified and written."""
        return self._picker.is_complete

    async def stop(self) -> None:
        """Take nothing more and wait for the threads; idempotent."""
        await self._writer.stop()

    # Servers come and go.

    def add(self, server: Server) -> None:
        """Ask a server that has everything for its share of the chunks."""
        self._windows[server] = RequestWindow(self.chunks.chunk_size)
        self._picker.on_peer_joined(server, None)
        self._ask(server)

    def remove(self, server: Server) -> None:
        """Ask others for what a server was asked for."""
        if self._windows.pop(server, None) is not None:
            self._picker.on_peer_left(server)
            self._ask_all()

    def on_heard(self, server: Server) -> None:
        """Note that a server is alive."""
        window = self._windows.get(server)
        if window is not None:
            window.on_heard(self._clock())

    def on_chunk(self, server: Server, chunk: ChunkReceived) -> None:
        """Have a chunk verified and written, unless it is there already."""
        window = self._windows.get(server)
        if window is None:
            return
        window.on_answer(chunk.index, self._clock())
        if self._picker.on_chunk_arrived(chunk.index, server):
            self._writer.put(Arrived(server, chunk.index, chunk.data, chunk.buffer))
        elif chunk.buffer is not None:
            self._pool.give(chunk.buffer)

    def on_answers_done(self, server: Server) -> None:
        """Ask for more, once per read however many chunks were in it."""
        if server in self._windows:
            self._ask(server)

    def on_tick(self, now: float) -> list[Server]:
        """Ask others for what stalled servers owe; return those that stall now.

        Near the end, chunks that take long are asked of a second server as well;
        only here, so that those about to come are not sent twice.
        """
        stalled = []
        for server, window in self._windows.items():
            if window.check_stalled(now):
                stalled.append(server)
                for index in self._picker.asked_of(server):
                    self._picker.on_request_expired(index, server)
        for server in self._windows:
            self._ask(server, copies=True)
        return stalled

    # Asking.

    def _ask_all(self) -> None:
        for server in list(self._windows):
            self._ask(server)

    def _ask(self, server: Server, *, copies: bool = False) -> None:
        """Send as many requests as the server's window has room for."""
        window = self._windows[server]
        chunk_size = self.chunks.chunk_size
        in_flight = self._writer.waiting
        if in_flight > max(BACKLOG_LIMIT, 2 * chunk_size):
            return
        in_flight += sum(map(len, self._windows.values())) * chunk_size
        budget = max(0, IN_FLIGHT_LIMIT - in_flight) // chunk_size
        # One chunk may always be on its way, or nothing would ever move.
        limit = min(window.room(), max(budget, 0 if in_flight else 1))
        if limit > 0:
            indexes = self._picker.next_requests(server, limit, copies=copies)
            window.on_sent(indexes, self._clock())
            server.ask(indexes)

    # What the writer reports.

    def _on_verdicts(self, verdicts: Iterable[tuple[Arrived, Verdict]]) -> None:
        for arrived, verdict in verdicts:
            server = arrived.peer
            assert isinstance(server, Server)
            if verdict is Verdict.OTHER_LENGTH:
                self._watcher.on_wrong_sizes()
                return
            if verdict is Verdict.WRONG:
                self._picker.on_chunk_failed(arrived.index)
                self._watcher.on_lie(server, arrived.index)
            else:
                self._on_right(arrived.index, server)
        if self.is_complete:
            self._watcher.on_complete()
        else:
            self._ask_all()

    def _on_right(self, index: int, server: Server) -> None:
        for other in self._picker.on_chunk_verified(index):
            self._windows[other].forget(index)
        self.done += self.chunks.length(index)
        self._verified += 1
        self._watcher.on_verified(server)
