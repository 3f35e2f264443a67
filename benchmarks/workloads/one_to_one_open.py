"""One large file from one source to one client, over an open channel."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.helpers.netns import Namespace

from benchmarks.files import digest_of, flush, make_file
from benchmarks.machine import warm_memory
from benchmarks.measure import MemoryWatch, cpu_seconds, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers import Share, has_programs, shoal_argv, start_nginx

__all__ = ["WORKLOAD"]

SIZE = 1 << 30  # bytes
MIB = 2**-20


def prepare(setup: Setup) -> Sequence[Side]:
    """Start the servers, with everything hashed and in the page cache."""
    namespace = setup.stack.enter_context(Namespace())
    root = setup.scratch / "served"
    root.mkdir()
    source = root / "source"
    digest = make_file(source, SIZE)
    share = Share.start(setup, namespace, source, "--open", "--chunk-size", "1M")
    run = partial(_run, namespace, setup.scratch / "target", digest)
    peer = f"127.0.0.1:{share.port}"
    get = ["get", share.id, "--peer", peer, "--lan-only", "--no-lan", "--no-progress"]
    sides = [
        Side(
            "shoal",
            partial(run, share.pid, lambda out: shoal_argv(*get, "-o", out)),
        )
    ]
    if has_programs(setup, "nginx", "curl"):
        pid, address = start_nginx(setup, namespace, root)
        url = f"{address}/{source.name}"
        fetch = partial(run, pid, lambda out: ["curl", "-sfo", str(out), url])
        sides.append(Side("curl from nginx", fetch))
    return sides


def _run(
    namespace: Namespace,
    target: Path,
    digest: str,
    server: int,
    argv: Callable[[Path], list[str]],
) -> Sample:
    warm_memory(2 * SIZE)
    before = cpu_seconds(server)
    with MemoryWatch(server) as memory:
        outcome = run_client(argv(target), namespace=namespace)
    server_cpu = cpu_seconds(server) - before
    synced = outcome.wall + flush(target)
    assert digest_of(target) == digest, "what arrived is not what was sent"
    target.unlink()
    return {
        "wall": outcome.wall,
        "rate": SIZE / outcome.wall,
        "synced": synced,
        "client_cpu": outcome.cpu,
        "server_cpu": server_cpu,
        "client_peak": outcome.memory.peak,
        "server_peak": memory.peak,
        "client_drift": outcome.memory.drift,
        "server_drift": memory.drift,
    }


WORKLOAD = Workload(
    name="one-to-one-open",
    title="1 GiB from one source to one client, in the clear",
    how=(
        "shoal: an open channel in chunks of 1 MiB, every chunk verified, flushed to "
        "the disk before the file has its name. curl from nginx: plain HTTP, "
        "sendfile, nothing verified, nothing flushed. So the time is given twice: "
        "to the end of the program, and until the file has been flushed as well. "
        "Drift is how far samples of the memory lie apart after the first quarter."
    ),
    columns=(
        Column("wall", "wall s"),
        Column("rate", "MB/s", 0, 1e-6),
        Column("synced", "wall s, flushed"),
        Column("client_cpu", "client CPU s"),
        Column("server_cpu", "server CPU s"),
        Column("client_peak", "client peak MiB", 1, MIB),
        Column("server_peak", "server peak MiB", 1, MIB),
        Column("client_drift", "client drift MiB", 1, MIB),
        Column("server_drift", "server drift MiB", 1, MIB),
    ),
    ratios=(
        Ratio(
            "speed, shoal : curl", "wall", "curl from nginx", "shoal", "at least 0.75"
        ),
        Ratio(
            "speed, shoal : curl, both flushed", "synced", "curl from nginx", "shoal"
        ),
    ),
    prepare=prepare,
)
