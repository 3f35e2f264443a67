"""Peak memory of both ends, for shares of many sizes and for many peers."""

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.helpers.netns import Namespace

from benchmarks.files import digest_of, make_sparse_file
from benchmarks.measure import Outcome, peak_memory, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.shoal import ALONE, SealedShare, shoal_argv

__all__ = ["WORKLOAD"]

MIB = 1 << 20
READ = 64 * MIB  # bytes that each client reads, from the middle
SIZES = {"100 MiB": 100 * MIB, "1 GiB": 1 << 30, "10 GiB": 10 << 30}
SIZES["100 GiB"] = 100 << 30
COUNTS = (1, 10, 50)
"""Numbers of peers."""
LIMIT = "at most 256"


@dataclass(frozen=True)
class Job:
    """A file that each run shares and reads."""

    namespace: Namespace
    scratch: Path
    file: Path
    digest: str

    def share(self, stack: ExitStack) -> SealedShare:
        """Hash and share the file, with the same link each time."""
        home = self.scratch / "home"
        return SealedShare.start(stack, self.namespace, self.file, home, "--public")

    def read(self, target: Path, share: SealedShare) -> Outcome:
        """Read the random bytes in the middle of the share."""
        first = (self.file.stat().st_size - READ) // 2
        argv = shoal_argv(
            *("cat", share.link, "-r", f"{first}-{first + READ - 1}"),
            *(*ALONE, "--peer", f"127.0.0.1:{share.port}"),
        )
        script = f"exec {shlex.join(argv)} > {shlex.quote(str(target))}"
        outcome = run_client(["sh", "-c", script], namespace=self.namespace)
        assert digest_of(target) == self.digest, "what arrived is not what was sent"
        target.unlink()
        return outcome


def _name(end: str, count: int) -> str:
    return f"{count} {end}{'s' if count > 1 else ''}"


def prepare(setup: Setup) -> Sequence[Side]:
    """Make sparse files."""
    namespace = setup.stack.enter_context(Namespace())
    jobs = {}
    for name, size in SIZES.items():
        file = setup.scratch / f"source-{size}"
        digest = make_sparse_file(file, size, READ)
        jobs[name] = Job(namespace, setup.scratch, file, digest)
    return [
        *(Side(f"share of {name}", partial(_read, jobs[name], 1)) for name in SIZES),
        *(Side(_name("client", n), partial(_read, jobs["1 GiB"], n)) for n in COUNTS),
        *(Side(_name("source", n), partial(_fetch, jobs["1 GiB"], n)) for n in COUNTS),
    ]


def _read(job: Job, count: int) -> Sample:
    """Share without stored hashes; several clients read at the same time."""
    with ExitStack() as stack:
        home = stack.enter_context(TemporaryDirectory(dir=job.scratch))
        fresh = Job(job.namespace, Path(home), job.file, job.digest)
        share = fresh.share(stack)
        targets = [Path(home) / f"target-{number}" for number in range(count)]
        with ThreadPoolExecutor(count) as pool:
            outcomes = list(pool.map(partial(fresh.read, share=share), targets))
        source = peak_memory(share.pid)
    return _figures(source, [outcome.memory.peak for outcome in outcomes])


def _fetch(job: Job, count: int) -> Sample:
    """Fetch all of a share from many sources."""
    target = job.scratch / "target"
    with ExitStack() as stack:
        first, *others = [job.share(stack) for _ in range(count)]
        peers = [f"127.0.0.1:{share.port}" for share in others]
        options = [word for peer in peers for word in ("--peer", peer)]
        argv = first.get_argv("127.0.0.1", target, *options)
        outcome = run_client(argv, namespace=job.namespace)
        source = max(peak_memory(share.pid) for share in (first, *others))
    assert digest_of(target) == digest_of(job.file), "what arrived is not what was sent"
    target.unlink()
    return _figures(source, [outcome.memory.peak])


def _figures(source: int, clients: Sequence[int]) -> Sample:
    client = max(clients)
    return {"source": source, "client": client, "peak": max(source, client)}


def _limit(name: str) -> Ratio:
    heading = f"peak MiB of either end, {name}"
    return Ratio(heading, "peak", name, goal=LIMIT, scale=1 / MIB)


WORKLOAD = Workload(
    name="memory",
    title="Peak memory of each end",
    how=(
        f"Sealed shares of sparse files with {READ // MIB} MiB of random bytes in the "
        "middle, which clients read with `shoal cat`; the source hashes the whole file "
        "beforehand. Then many clients at the same time at one source of 1 GiB, and "
        "one client that downloads 1 GiB from many sources to the disk. The figure is "
        "the peak resident memory of the process that needs the most at each end; "
        "memory that processes share is counted for each."
    ),
    columns=(
        Column("source", "source MiB", 1, 1 / MIB),
        Column("client", "client MiB", 1, 1 / MIB),
    ),
    ratios=(
        *(_limit(f"share of {name}") for name in SIZES),
        *(_limit(_name(end, n)) for end in ("client", "source") for n in COUNTS),
    ),
    prepare=prepare,
)
