"""Share a large file: how long until the link, the first and the second time?"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import rmtree
from time import perf_counter

from tests.helpers.netns import Namespace

from benchmarks.files import forget_cached, make_file, read_through
from benchmarks.measure import cpu_seconds, peak_memory, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import own_argv
from benchmarks.peers.shoal import SealedShare

__all__ = ["WORKLOAD"]

SIZE = 10 << 30  # bytes


@dataclass
class Job:
    """The file to hash, and the results so far."""

    namespace: Namespace
    file: Path
    home: Path
    """The folder for the files that shoal keeps."""
    results: dict[str, str] = field(default_factory=dict)

    def check(self, kind: str, result: str) -> None:
        """Raise `AssertionError` if a result differs from an earlier one."""
        known = self.results.setdefault(kind, result)
        assert result == known, f"the same file has {known} and {result}"


def prepare(setup: Setup) -> Sequence[Side]:
    """Write the file; return sides with the file in the page cache and without."""
    namespace = setup.stack.enter_context(Namespace())
    file = setup.scratch / "source"
    make_file(file, SIZE)
    job = Job(namespace, file, setup.scratch / "home")
    program = partial(_run_program, job)
    return [
        Side(
            "shoal share, first time", _warm(job, partial(_share, job, is_first=True))
        ),
        Side("shoal share, second time", partial(_share, job, is_first=False)),
        Side("BLAKE3, one thread", _warm(job, partial(program, "one"))),
        Side("BLAKE3, all threads", _warm(job, partial(program, "all"))),
        Side("read", _warm(job, partial(program, "read"))),
        Side("shoal share, from disk", _cold(job, partial(_share, job, is_first=True))),
        Side("read, from disk", _cold(job, partial(program, "read"))),
    ]


def _warm(job: Job, run: Callable[[], Sample]) -> Callable[[], Sample]:
    """Return a run that begins with the file in the page cache.

    The file is read before each run, because some hosts reclaim memory that has not
    been used for a while.
    """

    def run_warm() -> Sample:
        read_through(job.file)
        return run()

    return run_warm


def _cold(job: Job, run: Callable[[], Sample]) -> Callable[[], Sample]:
    """Return a run that begins with the file outside the page cache."""

    def run_cold() -> Sample:
        forget_cached(job.file)
        return run()

    return run_cold


def _share(job: Job, *, is_first: bool) -> Sample:
    """Share the file until the link is printed, which --public makes the same."""
    if is_first and job.home.exists():
        rmtree(job.home)
    with ExitStack() as stack:
        begin = perf_counter()
        share = SealedShare.start(stack, job.namespace, job.file, job.home, "--public")
        wall = perf_counter() - begin
        cpu, peak = cpu_seconds(share.pid), peak_memory(share.pid)
    job.check("link", share.link)
    return _figures(wall, cpu, peak)


def _run_program(job: Job, way: str) -> Sample:
    argv = own_argv("hash_file", way, job.file)
    outcome = run_client(argv, namespace=job.namespace)
    result = outcome.stdout.decode().strip()
    job.check("size" if way == "read" else "hash", result)
    return _figures(outcome.wall, outcome.cpu, outcome.memory.peak)


def _figures(wall: float, cpu: float, peak: int) -> Sample:
    return {"wall": wall, "rate": SIZE / wall, "cpu": cpu, "peak": peak}


WORKLOAD = Workload(
    name="hashing",
    title=f"The link of a file of {SIZE >> 30} GiB",
    how=(
        "From the start of `shoal share` to the line with the link: first without any "
        "stored hashes, then with the hashes of the first run in the user's cache. For "
        "comparison, BLAKE3 of the whole file, as b3sum computes it with one thread "
        "and with all threads, and reading alone. The file has random bytes and is not "
        "sparse. It is read into the page cache before each run, except for the lines "
        "`from disk`, where it is removed from the cache. All links and all hashes "
        "must be equal."
    ),
    columns=(
        Column("wall", "wall s"),
        Column("rate", "MB/s", 0, 1e-6),
        Column("cpu", "CPU s"),
        Column("peak", "peak MiB", 1, 2**-20),
    ),
    ratios=(
        Ratio(
            "speed, shoal : BLAKE3, one thread",
            "wall",
            "BLAKE3, one thread",
            "shoal share, first time",
        ),
        Ratio(
            "speed, shoal : BLAKE3, all threads",
            "wall",
            "BLAKE3, all threads",
            "shoal share, first time",
            "at least 1",
        ),
        Ratio(
            "speed, shoal : read, both from disk",
            "wall",
            "read, from disk",
            "shoal share, from disk",
            "at least 1",
        ),
        Ratio(
            "time, second : first",
            "wall",
            "shoal share, second time",
            "shoal share, first time",
            "near 0",
        ),
    ),
    prepare=prepare,
)
