"""Hash shared files, chunk by chunk, in threads.

Reading and hashing release the interpreter's lock, so two threads are nearly twice as
fast as one. Each thread reads into one buffer for many small chunks.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from shoal.errors import UnfinishedError
from shoal.storage.disk.disk import Data
from shoal.storage.store import Verify

if TYPE_CHECKING:
    from shoal.storage.shared.hash_cache import BlockFile
    from shoal.storage.shared.shared_files import SharedFiles

__all__ = ["BATCH_SIZE", "hash_chunks", "run_in_threads", "verify_chunks"]

BATCH_SIZE = 1024 * 1024
"""How many bytes a thread reads at a time, or one chunk if that is more."""

# Bytes. With smaller chunks, two threads mostly wait for the interpreter's lock.
_WORTH_THREADS = 8 * 1024
_MAX_THREADS = 16  # more do not help: disk and memory are the limit


def hash_chunks(
    files: "SharedFiles",
    algorithm: Callable[[Data], bytes],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] | None = None,
    kept: "BlockFile | None" = None,
) -> bytes:
    """Return the digests of all chunks, one after the other.

    The default for `threads` is one per processor. `progress` is called with the
    number of bytes hashed so far, by one thread at a time. `stopped` is called between
    batches; once it returns True, this raises `UnfinishedError`. With `kept`, the
    chunks are hashed as in a sealed share and their block hashes are written there.
    Raises `StoreError` if a file cannot be read or changes before the end.
    """
    chunks = files.chunks
    width = len(algorithm(b""))
    digests = bytearray(chunks.count * width)
    together = max(1, BATCH_SIZE // chunks.chunk_size)
    counting = threading.Lock()
    done = 0

    def digest(index: int, data: memoryview) -> bytes:
        if kept is None:
            return algorithm(data)
        from shoal.core.crypto.hashes import block_digests, chunk_digest_of

        hashes = block_digests(data)
        kept.write(index, hashes)
        return chunk_digest_of(hashes, len(data))

    def hash_batches(batches: Iterable[int]) -> None:
        nonlocal done
        buffer = memoryview(bytearray(min(together * chunks.chunk_size, chunks.size)))
        for first in batches:
            if stopped is not None and stopped():
                raise UnfinishedError.again("Hashing was stopped before the end")
            end = min(first + together, chunks.count)
            size = min(chunks.offset(end), chunks.size) - chunks.offset(first)
            files.read_into(buffer[:size], chunks.offset(first))
            digests[first * width : end * width] = b"".join(
                digest(index, buffer[start : min(start + chunks.chunk_size, size)])
                for index, start in enumerate(
                    range(0, size, chunks.chunk_size), start=first
                )
            )
            if progress is not None:
                with counting:
                    done += size
                    progress(done)

    if chunks.chunk_size < _WORTH_THREADS:
        threads = 1
    run_in_threads(hash_batches, range(0, chunks.count, together), threads)
    files.check_unchanged()
    return bytes(digests)


def run_in_threads(
    work: Callable[[Iterable[int]], None], numbers: range, threads: int | None = None
) -> None:
    """Call `work` in several threads; each gets the next of `numbers` when it is ready.

    After an error no thread gets another number; once all have ended, it is raised.
    """
    count = min(threads or os.cpu_count() or 1, _MAX_THREADS, len(numbers))
    if count <= 1:
        work(numbers)
        return
    from concurrent.futures import ThreadPoolExecutor

    rest, lock = iter(numbers), threading.Lock()

    def take() -> int | None:
        with lock:
            return next(rest, None)

    def run() -> None:
        nonlocal rest
        try:
            work(iter(take, None))
        except BaseException:
            rest = iter(range(0))
            raise

    with ThreadPoolExecutor(count, "shoal-hash") as pool:
        runs = [pool.submit(run) for _ in range(count)]
    for each in runs:
        each.result()


def verify_chunks(
    indexes: Sequence[int],
    read: Callable[[int], bytes],
    verify: Verify,
    *,
    stop_early: bool = False,
) -> list[int]:
    """Return the chunks that verify, in ascending order; `read` them in threads.

    With `stop_early`, read no more once a chunk does not verify.
    """
    good: list[int] = []
    has_failed = False

    def check(places: Iterable[int]) -> None:
        nonlocal has_failed
        for index in (indexes[place] for place in places):
            if has_failed and stop_early:
                return
            if verify(index, read(index)):
                good.append(index)
            else:
                has_failed = True

    run_in_threads(check, range(len(indexes)))
    return sorted(good)
