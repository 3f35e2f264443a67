"""A folder of very many small files: what a file costs, not what a byte does."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from tests.helpers.netns import Namespace

from benchmarks.files import digest_of_tree, flush_all, make_tree
from benchmarks.measure import MemoryWatch, cpu_seconds, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers import OutputServer, SealedShare, has_programs, start_rsync

__all__ = ["WORKLOAD"]

FILES = 20_000
LARGEST = 4096  # bytes
MIB = 2**-20


def prepare(setup: Setup) -> Sequence[Side]:
    """Start the servers, with everything hashed and in the page cache."""
    namespace = setup.stack.enter_context(Namespace())
    source = setup.scratch / "source"
    source.mkdir()
    # A folder for each run, all removed at the end: ext4 without a journal, which is
    # what many virtual machines have, does not use an inode again for minutes, and
    # looks at all of those that were freed for each file that it makes.
    targets = (setup.scratch / f"target-{number}" for number in count())
    run = partial(_run, namespace, targets, make_tree(source, FILES, LARGEST))
    share = SealedShare.start(setup.stack, namespace, source, setup.scratch / "home")

    def get(target: Path) -> list[str]:
        return share.get_argv("127.0.0.1", target, "--keep-exec")

    sides = [Side("shoal", partial(run, get, share.pid))]
    if has_programs(setup, "bash", "tar"):
        command = ["tar", "-C", source, "-cf", "-", "."]
        server = OutputServer.start(setup, namespace, *command)

        def unpack(target: Path) -> list[str]:
            # Made by the command that is timed, as by the others.
            script = f"mkdir '{target}' && exec tar -C '{target}' -xf -"
            return server.take_argv("127.0.0.1", f'sh -c "{script}"')

        sides.append(Side("tar over TCP", partial(run, unpack, server.pid)))
    if has_programs(setup, "rsync"):
        pid, address = start_rsync(setup, namespace, source)

        def sync(target: Path) -> list[str]:
            return ["rsync", "-a", address, f"{target}/"]

        sides.append(Side("rsync daemon", partial(run, sync, pid)))
    return sides


def _run(
    namespace: Namespace,
    targets: Iterator[Path],
    digest: str,
    argv: Callable[[Path], list[str]],
    server: int,
) -> Sample:
    target = next(targets)
    # Nobody has to wait for what another wrote.
    flush_all(target.parent)
    before = cpu_seconds(server)
    with MemoryWatch(server) as memory:
        outcome = run_client(argv(target), namespace=namespace)
    server_cpu = cpu_seconds(server) - before
    flushed = outcome.wall + flush_all(target)
    assert digest_of_tree(target) == digest, "what arrived is not what was sent"
    return {
        "wall": outcome.wall,
        "flushed": flushed,
        "client_cpu": outcome.cpu,
        "server_cpu": server_cpu,
        "client_peak": outcome.memory.peak,
        "server_peak": memory.peak,
    }


WORKLOAD = Workload(
    name="small-files",
    title=f"A folder of {FILES:,} files of 0 to {LARGEST:,} bytes",
    how=(
        "From a source that runs, with everything hashed and in the page cache, into "
        "a folder that is not there; three levels deep, each tenth file executable. "
        "shoal: a sealed share, every chunk verified, everything flushed to the disk "
        "before the folder has its name. tar: piped through a TCP connection and "
        "unpacked, in the clear, nothing verified or flushed. rsync: `-a` from a "
        "daemon, in the clear, nothing flushed. The time is given twice: to the end "
        "of the program, and until the file system has been flushed as well. Paths, "
        "bytes and executable bits are compared."
    ),
    columns=(
        Column("wall", "wall s"),
        Column("flushed", "wall s, flushed"),
        Column("client_cpu", "client CPU s"),
        Column("server_cpu", "server CPU s"),
        Column("client_peak", "client peak MiB", 1, MIB),
        Column("server_peak", "server peak MiB", 1, MIB),
    ),
    ratios=(
        Ratio("time, shoal : tar", "wall", "shoal", "tar over TCP", "at most 2"),
        Ratio("time, shoal : tar, both flushed", "flushed", "shoal", "tar over TCP"),
        Ratio("time, shoal : rsync", "wall", "shoal", "rsync daemon"),
        Ratio("time, shoal : rsync, both flushed", "flushed", "shoal", "rsync daemon"),
    ),
    prepare=prepare,
)
