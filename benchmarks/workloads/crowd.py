"""One source and many simultaneous downloaders: when is the last one complete?"""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median

from tests.helpers.process import Program

from benchmarks.crowds import DONE, MEMBERS, Crowd, Member
from benchmarks.files import digest_of, make_file
from benchmarks.measure import cpu_seconds, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import missing_programs
from benchmarks.peers.plain import OutputServer
from benchmarks.shaped import SHAPER, make_hosts, missing_shaper

__all__ = ["LARGE_WORKLOAD", "WORKLOAD"]

MIB = 1024 * 1024
PATIENCE = 240.0  # seconds until a download counts as failed
STREAM = "one plain stream"


def prepare(setup: Setup, *, count: int, size: int) -> Sequence[Side]:
    """Make the hosts; each run starts its source before the clock."""
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
    if setup.admits(STREAM, lambda: missing_programs("bash", "cat")):
        server = OutputServer.start(setup.stack, source.namespace, "cat", file)
        sides.append(Side(STREAM, partial(_measure_rate, crowd, server)))
    sides += [
        Side(member.name, partial(_run, crowd, member))
        for member in MEMBERS
        if setup.admits(member.name, member.missing)
    ]
    return sides


def _measure_rate(crowd: Crowd, server: OutputServer) -> Sample:
    """Send the file once over plain TCP to one downloader, which discards it."""
    argv = server.take_argv(crowd.source.address, "cat > /dev/null")
    outcome = run_client(argv, namespace=crowd.downloaders[0].namespace)
    crowd.rate = crowd.size / outcome.wall
    return {"last": outcome.wall, "rate": crowd.rate, "bound": crowd.bound}


def _run(crowd: Crowd, member: Member) -> Sample:
    with ExitStack() as stack:
        launch = member.start(crowd, stack)
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
        for each in target.parent.iterdir():
            each.unlink()
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
    """Return the time when each program printed `DONE`."""
    ended: dict[int, float] = {}
    errors: list[BaseException] = []

    def wait(number: int) -> None:
        try:
            programs[number].wait_line(DONE, PATIENCE, stream="out")
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


def _make(name: str, count: int, size: int) -> Workload:
    return Workload(
        name=name,
        title=f"{size // MIB} MiB from one source to {count} simultaneous downloaders",
        how=(
            "Every host is a network namespace on one switch and sends through `tc … "
            f"tbf {SHAPER}`. The clock starts when the downloaders are launched and "
            "stops when the last one has the whole file, verified; all stay until "
            "then. shoal: a sealed share; downloaders know only the address of the "
            "source. libtorrent: default settings, no tracker; every peer gets the "
            "addresses of all others. aria2: default settings, except that no space is "
            "allocated in advance; a tracker at the source gives every peer the "
            "addresses of all others. The bound is that of a fluid model, max(F/u, "
            "N·F/(u + N·u)), where u is the rate of one plain TCP stream in the same "
            "round. Copies are the bytes that leave the source's network device, with "
            "all headers, divided by the size of the file; the load is the bytes that "
            "all hosts send, per downloader."
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
            Ratio("last, shoal : bound", "over", "shoal", goal="at most 1.10"),
            Ratio("copies from source, shoal", "copies", "shoal", goal="at most 1.10"),
            Ratio(
                "last, shoal : libtorrent", "last", "shoal", "libtorrent", "at most 1"
            ),
            Ratio("last, shoal : aria2", "last", "shoal", "aria2", "at most 1"),
        ),
        prepare=partial(prepare, count=count, size=size),
    )


WORKLOAD = _make("crowd", 8, 24 * MIB)
LARGE_WORKLOAD = _make("crowd-16", 16, 96 * MIB)
