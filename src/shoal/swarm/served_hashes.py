"""The block hashes of the chunks that this node serves.

They come from memory, from where the store keeps them, or from the chunk itself, which
is read and hashed in a thread. Nothing is sent that does not give the chunk's hash: a
peer would take it for a lie.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from shoal.core.crypto.hashes import block_digests
from shoal.core.manifest.blocks import (
    BLOCK_SIZE,
    BlockHashes,
    are_block_hashes,
    are_blocks,
)
from shoal.core.manifest.manifest import Manifest
from shoal.errors import StoreError
from shoal.resources import Resources
from shoal.storage.disk.disk import Data
from shoal.storage.store import ChunkReader, Span, Verifiable

__all__ = ["ServedHashes", "WrongCopyError", "verify_by"]

MAX_JOBS = 2  # chunks that are read and hashed at once; each may have 16 MiB

_Then: TypeAlias = Callable[[bytes | Exception], None]


def verify_by(source: Verifiable, manifest: Manifest) -> None:
    """Let shared files verify what they return by the hashes of a manifest."""
    hashes_of, length_of = manifest.hash_table.digest, manifest.chunks.length

    def verify_span(span: Span, data: Data, hashes: bytes) -> bool:
        block, rest = divmod(span.first, BLOCK_SIZE)
        return (
            not rest
            and len(data) == span.end - span.first
            and are_block_hashes(hashes, length_of(span.index), hashes_of(span.index))
            and are_blocks(data, block, hashes)
        )

    source.verify = manifest.hash_table.verifies
    source.verify_span = verify_span


class WrongCopyError(StoreError):
    """Report that a chunk does not verify any more."""


class ServedHashes:
    """Know the block hashes of the chunks of one store."""

    def __init__(
        self, store: ChunkReader, manifest: Manifest, resources: Resources
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._threads = resources.threads
        self._known = BlockHashes()
        self._waiting: dict[int, list[_Then]] = {}  # callers, by chunk
        self._queue: deque[int] = deque()  # chunks to hash
        self._jobs: set[asyncio.Future[bytes | Exception]] = set()
        self._loop = asyncio.get_running_loop()

    def find(self, index: int) -> bytes | None:
        """Return the block hashes of a chunk if that does not block, otherwise None."""
        hashes = self._known.find(index)
        if hashes is None:
            hashes = self._store.block_hashes_now(index)
            if hashes is None or not self._are_right(index, hashes):
                return None
            self._known.add(index, hashes)
        return hashes

    def compute(self, index: int, then: _Then) -> None:
        """Read and hash a chunk, then call `then` with its block hashes.

        `then` gets `WrongCopyError` if the chunk does not verify, or the error of
        reading it.
        """
        if index in self._waiting:
            self._waiting[index].append(then)
        else:
            self._waiting[index] = [then]
            self._queue.append(index)
            self._start()

    async def read_from(self, store: ChunkReader) -> None:
        """Read from another store; wait until no thread reads the old one."""
        self._store = store
        if self._jobs:
            await asyncio.wait(self._jobs)

    async def aclose(self) -> None:
        """Compute nothing more, and wait for the threads; idempotent."""
        self._queue.clear()
        self._waiting.clear()
        if self._jobs:
            await asyncio.wait(self._jobs)

    def _start(self) -> None:
        while self._queue and len(self._jobs) < MAX_JOBS:
            index = self._queue.popleft()
            job = self._loop.run_in_executor(
                self._threads, self._hash, self._store, index
            )
            self._jobs.add(job)
            job.add_done_callback(partial(self._on_done, index))

    def _hash(self, store: ChunkReader, index: int) -> bytes | Exception:
        """Return the block hashes of a chunk, or an error; runs in a thread."""
        try:
            hashes = block_digests(store.get(index))
        except Exception as error:
            return error
        if not self._are_right(index, hashes):
            return WrongCopyError(f"chunk {index} does not verify any more")
        return hashes

    def _are_right(self, index: int, hashes: bytes) -> bool:
        length = self._manifest.chunks.length(index)
        digest = self._manifest.hash_table.digest(index)
        return are_block_hashes(hashes, length, digest)

    def _on_done(self, index: int, job: asyncio.Future[bytes | Exception]) -> None:
        self._jobs.discard(job)
        result = job.result()
        if isinstance(result, bytes):
            self._known.add(index, result)
        for then in self._waiting.pop(index, []):
            then(result)
        self._start()
