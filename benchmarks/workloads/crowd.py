"""One source, and many who want the same at once: when has the last one got it?"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from tests.helpers.process import Program

from benchmarks.files import digest_of, make_file
from benchmarks.measure import clean_environment, cpu_seconds, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers import (
    OutputServer,
    SealedShare,
    has_libtorrent,
    has_programs,
    start_torrent,
    torrent_argv,
)
from benchmarks.shaped import SHAPER, Host, make_hosts, missing_shaper

__all__ = ["LARGE_WORKLOAD", "WORKLOAD"]

MIB = 1024 * 1024
PATIENCE = 240.0  # seconds until a downloader is given up
TORRENT_PORT = 6881


@dataclass
class Crowd:
    """What all the sides of one run have in common."""

    source: Host
    downloaders: Sequence[Host]
    scratch: Path
    file: Path
    digest: str
    rate: float = field(default=0.0)
    """Bytes per second of payload that one host sends, as measured last."""

    @property
    def size(self) -> int:
        """Return how many bytes everybody wants."""
        return self.file.stat().st_size

    @property
    def bound(self) -> float:
        """Return the seconds that nobody can do better than, if bytes were fluid."""
        count = len(self.downloaders)
        all_rates = self.rate * (1 + count)
        return max(self.size / self.rate, count * self.size / all_rates)

    def target(self, number: int) -> Path:
        """Return where a downloader writes to."""
        folder = self.scratch / f"downloader-{number}"
        folder.mkdir(exist_ok=True)
        return folder / self.file.name


def prepare(setup: Setup, *, count: int, size: int) -> Sequence[Side]:
    """Make the hosts; the sources start with each run, and are ready before it."""
    reason = missing_shaper()
    if reason is not None:
        setup.missing.append(f"{reason}; nothing can be measured.")
        return ()
    source, *downloaders = make_hosts(setup.stack, 1 + count)
    folder = setup.scratch / "served"
    folder.mkdir()
    file = folder / "source"
    crowd = Crowd(source, downloaders, setup.scratch, file, make_file(file, size))
    sides = []
    if has_programs(setup, "bash", "cat"):
        server = OutputServer.start(setup, source.namespace, "cat", file)
        sides.append(Side("one plain stream", partial(_measure_rate, crowd, server)))
    sides.append(Side("shoal", partial(_run, crowd, _start_shoal)))
    if has_libtorrent(setup):
        torrent = setup.scratch / "source.torrent"
        argv = torrent_argv("make", file, torrent, 0)
        run_client(argv, namespace=source.namespace)
        start = partial(_start_libtorrent, torrent)
        sides.append(Side("libtorrent", partial(_run, crowd, start)))
    return sides


def _measure_rate(crowd: Crowd, server: OutputServer) -> Sample:
    """Send the file once over plain TCP, to one downloader, who throws it away."""
    argv = server.take_argv(crowd.source.address, "cat > /dev/null")
    outcome = run_client(argv, namespace=crowd.downloaders[0].namespace)
    crowd.rate = crowd.size / outcome.wall
    return {"last": outcome.wall, "rate": crowd.rate, "bound": crowd.bound}


Start = Callable[[Crowd, ExitStack], Callable[[], list[Program]]]
"""Start the source; return what starts the downloaders, who say when they are done."""


def _run(crowd: Crowd, start: Start) -> Sample:
    with ExitStack() as stack:
        launch = start(crowd, stack)
        hosts = (crowd.source, *crowd.downloaders)
        before = [host.transmitted() for host in hosts]
        begin = time.perf_counter()
        programs = launch()
        ended = _wait_all(programs)
        sent = [h.transmitted() - b for h, b in zip(hosts, before, strict=True)]
        cpu = sum(cpu_seconds(program.pid) for program in programs)
    for number in range(len(crowd.downloaders)):
        target = crowd.target(number)
        assert digest_of(target) == crowd.digest, "what arrived is not what was sent"
        target.unlink()
    times = sorted(at - begin for at in ended)
    figures = {
        "first": times[0],
        "median": median(times),
        "last": times[-1],
        "copies": sent[0] / crowd.size,
        "load": sum(sent) / len(crowd.downloaders) / crowd.size,
        "cpu": cpu,
    }
    if crowd.rate:
        figures["over"] = times[-1] / crowd.bound
    return figures


def _wait_all(programs: Sequence[Program]) -> list[float]:
    """Return when each of them said that it was done."""
    ended: dict[int, float] = {}
    errors: list[BaseException] = []

    def wait(number: int) -> None:
        try:
            programs[number].wait_line(
                r'^complete$|"event":"complete"', PATIENCE, stream="out"
            )
        except BaseException as error:
            errors.append(error)
        ended[number] = time.perf_counter()

    waiting = [
        threading.Thread(target=wait, args=(number,)) for number in range(len(programs))
    ]
    for each in waiting:
        each.start()
    for each in waiting:
        each.join()
    if errors:
        raise errors[0]
    return list(ended.values())


def _start_shoal(crowd: Crowd, stack: ExitStack) -> Callable[[], list[Program]]:
    share = SealedShare.start(
        stack, crowd.source.namespace, crowd.file, crowd.scratch / "home"
    )
    address = crowd.source.address

    def launch() -> list[Program]:
        return [
            stack.enter_context(
                Program(
                    share.get_argv(address, crowd.target(n), "--seed", "--json"),
                    namespace=host.namespace,
                    env=clean_environment(),
                )
            )
            for n, host in enumerate(crowd.downloaders)
        ]

    return launch


def _start_libtorrent(
    torrent: Path, crowd: Crowd, stack: ExitStack
) -> Callable[[], list[Program]]:
    start_torrent(
        stack,
        crowd.source.namespace,
        *("seed", torrent, crowd.file.parent, TORRENT_PORT),
    )
    hosts = (crowd.source, *crowd.downloaders)

    def launch() -> list[Program]:
        programs = []
        for number, host in enumerate(crowd.downloaders):
            # There is no tracker, so each is told of all the others.
            others = [f"{h.address}:{TORRENT_PORT}" for h in hosts if h is not host]
            folder = crowd.target(number).parent
            argv = torrent_argv(
                *("get", torrent, folder, TORRENT_PORT, "--stay"), *others
            )
            program = Program(argv, namespace=host.namespace, env=clean_environment())
            programs.append(stack.enter_context(program))
        return programs

    return launch


def _make(name: str, count: int, size: int, aim: str) -> Workload:
    return Workload(
        name=name,
        title=f"{size // MIB} MiB from one source to {count} who start at once",
        how=(
            "Every host is a network namespace on one switch and sends through "
            f"`tc … tbf {SHAPER}`. The clock starts with the launch of the "
            "downloaders and stops when the last one has all of it, verified; all "
            "stay until then. shoal: a sealed share, downloaders know the address of "
            "the source only. libtorrent: default settings, no tracker, every peer "
            "is told of all others. The bound is that of a fluid, max(F/u, "
            "N·F/(u + N·u)), with the u of one plain TCP stream in the same round. "
            "Copies are bytes out of the source's device, with all headers, over the "
            "size; the load is bytes sent by all, per downloader."
        ),
        columns=(
            Column("first", "first s"),
            Column("median", "median s"),
            Column("last", "last s"),
            Column("over", "last / bound"),
            Column("copies", "copies from source"),
            Column("load", "load"),
            Column("cpu", "CPU s, downloaders"),
            Column("rate", "u, Mbit/s", 1, 8e-6),
            Column("bound", "bound s"),
        ),
        ratios=(
            Ratio(
                "last, shoal : one plain stream", "last", "shoal", "one plain stream"
            ),
            Ratio("last, shoal : libtorrent", "last", "shoal", "libtorrent", aim),
        ),
        prepare=partial(prepare, count=count, size=size),
    )


WORKLOAD = _make("crowd", 8, 24 * MIB, "at most 1")
LARGE_WORKLOAD = _make("crowd-16", 16, 96 * MIB, "below 1")
