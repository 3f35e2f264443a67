"""Hash what is shared, chunk by chunk, in threads.

Reading and hashing release the interpreter's lock, so two threads are nearly twice
as fast as one. Memory is bounded: each thread has one buffer that it uses again
and again, long enough for many small chunks at a time.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from shoal.errors import UnfinishedError
from shoal.storage.disk.disk import Data

if TYPE_CHECKING:
    from shoal.storage.shared.shared_files import SharedFiles

__all__ = ["BATCH_SIZE", "hash_chunks", "run_in_threads"]

BATCH_SIZE = 1024 * 1024
"""How many bytes a thread reads at a time; one chunk, if that is more."""

# In bytes. With smaller chunks threads mostly wait for the interpreter's lock: two
# are slower than one at 4 KiB, and no faster at 1 KiB, for which it is not released.
_WORTH_THREADS = 8 * 1024
_MAX_THREADS = 16  # beyond, disk and memory are the limit


def hash_chunks(
    source: "SharedFiles",
    algorithm: Callable[[Data], bytes],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> bytes:
    """Return the digests of all chunks, one after the other.

    `threads` is one per processor by default. `progress` hears how many bytes are
    done so far, from one of the threads at a time. `stopped` is asked between
    batches: once it says True, `UnfinishedError` is raised. Raises `StoreError`
    when the source cannot be read or changes meanwhile.
    """
    chunks = source.chunks
    width = len(algorithm(b""))
    digests = bytearray(chunks.count * width)
    together = max(1, BATCH_SIZE // chunks.chunk_size)
    counting = threading.Lock()
    done = 0

    def hash_batches(batches: Iterable[int]) -> None:
        nonlocal done
        buffer = memoryview(bytearray(min(together * chunks.chunk_size, chunks.size)))
        for first in batches:
            if stopped is not None and stopped():
                raise UnfinishedError(
                    "Hashing was stopped before its end; run the command again."
                )
            end = min(first + together, chunks.count)
            size = min(chunks.offset(end), chunks.size) - chunks.offset(first)
            source.read_into(buffer[:size], chunks.offset(first))
            digests[first * width : end * width] = b"".join(
                algorithm(buffer[start : min(start + chunks.chunk_size, size)])
                for start in range(0, size, chunks.chunk_size)
            )
            if progress is not None:
                with counting:
                    done += size
                    progress(done)

    if chunks.chunk_size < _WORTH_THREADS:
        threads = 1
    run_in_threads(hash_batches, range(0, chunks.count, together), threads)
    source.check_unchanged()
    return bytes(digests)


def run_in_threads(
    work: Callable[[Iterable[int]], None], numbers: range, threads: int | None = None
) -> None:
    """Deal out `numbers` to several runs of `work` in threads, each at its own pace.

    The first error of any is raised, once all have ended; the others get no more.
    """
    count = min(threads or os.cpu_count() or 1, _MAX_THREADS, len(numbers))
    if count <= 1:
        work(numbers)
        return
    from concurrent.futures import ThreadPoolExecutor

    dealer = _Dealer(numbers)

    def run() -> None:
        try:
            work(dealer)
        except BaseException:
            dealer.stop()
            raise

    with ThreadPoolExecutor(count, "shoal-hash") as pool:
        runs = [pool.submit(run) for _ in range(count)]
    for each in runs:
        each.result()


class _Dealer:
    """Hand each number to exactly one of several threads."""

    def __init__(self, numbers: range) -> None:
        self._rest = iter(numbers)
        self._dealing = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._dealing:
            return next(self._rest)

    def stop(self) -> None:
        with self._dealing:
            self._rest = iter(range(0))
