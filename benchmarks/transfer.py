"""Measure the transfer of one file from its sources to one client, by any program.

Servers keep running between runs. Each run starts a new client, and its start is part
of the time. If a server of some program serves only once, it starts before the clock.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from tests.helpers.netns import Namespace

from benchmarks.files import digest_of, flush, make_file
from benchmarks.machine import warm_memory
from benchmarks.measure import MemoryWatch, cpu_seconds, run_client
from benchmarks.model import Column, Sample, Setup, Side

__all__ = ["COLUMNS", "HOW", "Fetch", "Job", "Peer", "Way", "describe", "make_job"]

MIB = 2**-20
FIRST_PORT = 20_000  # in our own namespace every port is free

HOW = (
    "Everything is hashed and in the page cache beforehand; what arrives is compared "
    "by SHA-256. Clients are new processes, and their start is included. The time is "
    "given twice: to the end of the program, and until the file has also been flushed "
    "to the disk, which shoal always does itself. Before each run, as much memory as "
    "the file needs is written and freed, because the host may have reclaimed it."
)
COLUMNS = (
    Column("wall", "wall s"),
    Column("rate", "MB/s", 0, 1e-6),
    Column("flushed", "wall s, flushed"),
    Column("client_cpu", "client CPU s"),
    Column("server_cpu", "sources CPU s"),
    Column("cpu", "CPU s per GiB"),
    Column("client_peak", "client peak MiB", 1, MIB),
    Column("server_peak", "sources peak MiB", 1, MIB),
)


@dataclass(frozen=True)
class Job:
    """The file to transfer, and the namespace of its sources and clients."""

    setup: Setup
    namespace: Namespace
    source: Path
    """The file, alone in its folder."""
    digest: str
    sources: int = 1
    """How many servers have the file."""
    ports: Iterator[int] = field(default_factory=partial(count, FIRST_PORT))
    """Unused TCP ports."""

    @property
    def size(self) -> int:
        """Return the size of the file in bytes."""
        return self.source.stat().st_size

    def folder(self, name: str) -> Path:
        """Return a new folder for one of the programs."""
        folder = self.setup.scratch / f"{name}-{self.sources}"
        folder.mkdir()
        return folder


@dataclass(frozen=True)
class Fetch:
    """One run of a client: its command line, its output file and its servers."""

    argv: Sequence[str]
    target: Path
    servers: Sequence[int]
    """Process ids."""


Way = Callable[[ExitStack], Fetch]
"""Called before each run; closing the stack after the run ends what it started."""


@dataclass(frozen=True)
class Peer:
    """A program to compare."""

    name: str
    how: str
    """A sentence on how the program is run and what it verifies."""
    missing: Callable[[], str | None]
    """Return why the program cannot run here; None if it can."""
    start: Callable[[Job], Way]
    """Start the servers; return how to fetch from them."""

    def side(self, job: Job, suffix: str = "") -> list[Side]:
        """Return a list of one side, or of none if it is not wanted or cannot run."""
        name = self.name + suffix
        if not job.setup.admits(name, self.missing):
            return []
        return [Side(name, partial(_run, job, self.start(job)))]


def describe(peers: Sequence[Peer]) -> str:
    """Return a sentence on how each program is run."""
    return " ".join(f"{peer.name}: {peer.how}" for peer in peers)


def make_job(setup: Setup, size: int) -> Job:
    """Make a file and a namespace to transfer it in."""
    namespace = setup.stack.enter_context(Namespace())
    folder = setup.scratch / "served"
    folder.mkdir()
    source = folder / "source"
    return Job(setup, namespace, source, make_file(source, size))


def _run(job: Job, way: Way) -> Sample:
    warm_memory(2 * job.size)
    with ExitStack() as stack:
        fetch = way(stack)
        before = _cpu(fetch)
        with ExitStack() as watching:
            memory = [watching.enter_context(MemoryWatch(pid)) for pid in fetch.servers]
            outcome = run_client(fetch.argv, namespace=job.namespace)
        server_cpu = _cpu(fetch) - before
    flushed = outcome.wall + flush(fetch.target)
    assert digest_of(fetch.target) == job.digest, "what arrived is not what was sent"
    fetch.target.unlink()
    return {
        "wall": outcome.wall,
        "rate": job.size / outcome.wall,
        "flushed": flushed,
        "client_cpu": outcome.cpu,
        "server_cpu": server_cpu,
        "cpu": (outcome.cpu + server_cpu) * 2**30 / job.size,
        "client_peak": outcome.memory.peak,
        "server_peak": sum(each.peak for each in memory),
        "client_drift": outcome.memory.drift,
        "server_drift": sum(each.drift for each in memory),
    }


def _cpu(fetch: Fetch) -> float:
    return sum(cpu_seconds(pid) for pid in fetch.servers)
