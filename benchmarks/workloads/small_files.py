"""A folder of very many small files: the cost of a file, not of a byte."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from tests.helpers.netns import Namespace

from benchmarks.files import digest_of_tree, flush_all, make_tree, spread_folders
from benchmarks.measure import MemoryWatch, cpu_seconds, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import missing_programs
from benchmarks.peers.plain import OutputServer
from benchmarks.peers.rsync import missing_rsync, start_rsync
from benchmarks.peers.shoal import SealedShare
from benchmarks.peers.wormhole import Wormhole, missing_wormhole

__all__ = ["WORKLOAD"]

FILES = 20_000
LARGEST = 4096  # bytes
MIB = 2**-20
# In our own namespace every port is free.
RSYNC_PORT = 8730
WORMHOLE_PORTS = (4000, 4001)
TAR = "tar over TCP"
RSYNC = "rsync daemon"
WORMHOLE = "magic-wormhole"


@dataclass(frozen=True)
class Place:
    """The folder to share, and a folder for the files of its source."""

    stack: ExitStack
    """Closed at the end of the run."""
    namespace: Namespace
    source: Path
    folder: Path
    """A new folder for each run, without any stored hashes."""


Start = Callable[[Place, Path], tuple[list[str], int]]
"""Start a source; return the command that fetches from it, and its process id."""


def prepare(setup: Setup) -> Sequence[Side]:
    """Make the folder; sources start with each run."""
    namespace = setup.stack.enter_context(Namespace())
    spread_folders(setup.scratch)
    # The place of a folder on the disk depends on its name, so each name is new.
    name = setup.scratch.name
    source = setup.scratch / f"{name}-source"
    source.mkdir()
    digest = make_tree(source, FILES, LARGEST)
    # A folder for each run, all removed at the end: otherwise inodes that one run has
    # freed would slow down the next.
    folders = (setup.scratch / f"{name}-{number}" for number in count())
    run = partial(_run, namespace, source, folders, digest)
    ways: dict[str, tuple[Callable[[], str | None], Start]] = {
        "shoal": (lambda: None, _start_shoal),
        TAR: (partial(missing_programs, "bash", "tar"), _start_tar),
        RSYNC: (missing_rsync, _start_rsync),
        WORMHOLE: (missing_wormhole, _start_wormhole),
    }
    return [
        Side(name, partial(run, begin))
        for name, (missing, begin) in ways.items()
        if setup.admits(name, missing)
    ]


def _start_shoal(place: Place, target: Path) -> tuple[list[str], int]:
    share = SealedShare.start(
        place.stack, place.namespace, place.source, place.folder / "home"
    )
    return share.get_argv("127.0.0.1", target, "--keep-exec"), share.pid


def _start_tar(place: Place, target: Path) -> tuple[list[str], int]:
    command = ("tar", "-C", place.source, "-cf", "-", ".")
    server = OutputServer.start(place.stack, place.namespace, *command)
    # The timed command makes the folder, as the other programs do.
    script = f"mkdir '{target}' && exec tar -C '{target}' -xf -"
    return server.take_argv("127.0.0.1", f'sh -c "{script}"'), server.pid


def _start_rsync(place: Place, target: Path) -> tuple[list[str], int]:
    pid, address = start_rsync(
        place.stack, place.namespace, place.source, place.folder, RSYNC_PORT
    )
    return ["rsync", "-a", address, f"{target}/"], pid


def _start_wormhole(place: Place, target: Path) -> tuple[list[str], int]:
    wormhole = Wormhole(place.stack, place.namespace, place.folder, WORMHOLE_PORTS)
    sender, code = wormhole.send(place.stack, place.source)
    return wormhole.receive_argv(code, target), sender.pid


def _run(
    namespace: Namespace,
    source: Path,
    folders: Iterator[Path],
    digest: str,
    start: Start,
) -> Sample:
    folder = next(folders)
    folder.mkdir()
    target = folder / "target"
    with ExitStack() as stack:
        begin = time.perf_counter()
        argv, server = start(Place(stack, namespace, source, folder), target)
        ready = time.perf_counter() - begin
        # Otherwise the client would wait for writes of the source.
        flush_all(folder)
        before = cpu_seconds(server)
        with MemoryWatch(server) as memory:
            outcome = run_client(argv, namespace=namespace)
        server_cpu = cpu_seconds(server) - before
    flushed = outcome.wall + flush_all(target)
    assert digest_of_tree(target) == digest, "what arrived is not what was sent"
    return {
        "ready": ready,
        "wall": outcome.wall,
        "flushed": flushed,
        "total": ready + outcome.wall,
        "client_cpu": outcome.cpu,
        "server_cpu": server_cpu,
        "client_peak": outcome.memory.peak,
        "server_peak": memory.peak,
    }


WORKLOAD = Workload(
    name="small-files",
    title=f"A folder of {FILES:,} files of 0 to {LARGEST:,} bytes",
    how=(
        "From a running source, with everything hashed and in the page cache, into a "
        "folder that does not exist; three levels deep, with every tenth file "
        "executable. A separate column has the time that a source takes from its start "
        "until it is ready, without any stored hashes. shoal: a sealed share, every "
        "chunk verified, everything flushed to the disk before the folder gets its "
        "name. tar: piped through a TCP connection and unpacked, unencrypted, nothing "
        "verified or flushed. rsync: `-a` from a daemon, unencrypted, nothing flushed. "
        "magic-wormhole: a zip archive that is packed and unpacked during the "
        "transfer, encrypted, nothing flushed; the sender has listed the folder "
        "beforehand. The time is given twice: to the end of the program, and until the "
        "file system has been flushed. Paths, bytes and executable bits are compared."
    ),
    columns=(
        Column("ready", "source ready s"),
        Column("wall", "wall s"),
        Column("flushed", "wall s, flushed"),
        Column("client_cpu", "client CPU s"),
        Column("server_cpu", "server CPU s"),
        Column("client_peak", "client peak MiB", 1, MIB),
        Column("server_peak", "server peak MiB", 1, MIB),
    ),
    ratios=(
        Ratio("time, shoal : tar", "wall", "shoal", TAR, "at most 2"),
        Ratio("time, shoal : tar, both flushed", "flushed", "shoal", TAR),
        Ratio("time, shoal : rsync", "wall", "shoal", RSYNC, "at most 1"),
        Ratio("time, shoal : rsync, both flushed", "flushed", "shoal", RSYNC),
        Ratio("time, magic-wormhole : shoal", "wall", WORMHOLE, "shoal", "at least 10"),
        Ratio("the same from the start of the source", "total", WORMHOLE, "shoal"),
    ),
    prepare=prepare,
)
