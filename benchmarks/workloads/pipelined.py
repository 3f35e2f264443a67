"""Many small chunks over one connection: the cost of a message."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.helpers.netns import Namespace

from benchmarks.files import make_file
from benchmarks.measure import MemoryWatch, cpu_seconds, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import missing_programs, own_argv, start
from benchmarks.peers.nginx import Nginx
from benchmarks.peers.shoal import Share
from benchmarks.peers.workshop import NodeServer, missing_node
from benchmarks.programs.chunk_client import CHUNK, DEPTH, PIPELINED

__all__ = ["WORKLOAD"]

SIZE = 16 * 1024 * 1024  # bytes in the file that is served
PORT = 8080  # of nginx; in our own namespace every port is free
NGINX = "nginx, ranges"
NO_SERVER = "no server at all"


def prepare(setup: Setup) -> Sequence[Side]:
    """Start every server once; each run is one client."""
    namespace = setup.stack.enter_context(Namespace())
    folder = setup.scratch / "served"
    folder.mkdir()
    source = folder / "source"
    make_file(source, SIZE)
    run = partial(_run, namespace, source)
    share = Share.start(setup, namespace, source, "--open", "bench")
    sides = [Side("shoal", partial(run, share.pid, share.port))]
    if setup.admits("node", missing_node):
        server = NodeServer.start(setup, namespace, source, "node-bench")
        sides.append(Side("node", partial(run, server.pid, server.port)))
    if setup.admits(NGINX, lambda: missing_programs("nginx")):
        place = (setup.stack, namespace, folder, setup.scratch)
        nginx = Nginx.start(*place, PORT)
        sides.append(Side(NGINX, partial(run, nginx.pid, PORT, "--http")))
    replay = start(setup.stack, namespace, own_argv("replay_server"))
    port = int(replay.wait_line(r"^listening (\d+)$")[1])
    return [*sides, Side(NO_SERVER, partial(run, replay.pid, port, "--unchecked"))]


def _run(
    namespace: Namespace, source: Path, pid: int, port: int, *flags: str
) -> Sample:
    before = cpu_seconds(pid)
    with MemoryWatch(pid) as memory:
        argv = own_argv("chunk_client", port, source, *flags)
        outcome = run_client(argv, namespace=namespace)
    return {
        **outcome.figures,
        "server_cpu": cpu_seconds(pid) - before,
        "server_peak": memory.peak,
    }


WORKLOAD = Workload(
    name="pipelined",
    title=f"Chunks of {CHUNK:,} bytes over one connection on loopback",
    how=(
        f"{PIPELINED:,} chunks of a named channel are requested in random order with "
        f"{DEPTH} requests in flight, then 4,096 chunks one at a time. The same client "
        "drives all servers; it sends requests that were encoded beforehand and counts "
        "the bytes that arrive. nginx serves the same file over HTTP, one range for "
        "each chunk, also pipelined. The last line shows that the client is not the "
        "bottleneck: there, a server that reads nothing sends answers that were "
        "prepared beforehand. The CPU seconds of the server are those of both parts."
    ),
    columns=(
        Column("rate", "chunks/s", 0),
        Column("p50", "alone, p50 us", 0, 1e6),
        Column("p99", "alone, p99 us", 0, 1e6),
        Column("server_cpu", "server CPU s"),
        Column("client_share", "client busy %", 0, 100),
        Column("server_peak", "server peak MiB", 1, 2**-20),
    ),
    ratios=(
        Ratio("chunks/s, shoal : node", "rate", "shoal", "node", "at least 5"),
        Ratio("p50 alone, shoal : node", "p50", "shoal", "node", "at most 1"),
        Ratio("chunks/s, shoal : nginx", "rate", "shoal", NGINX),
        Ratio("chunks/s, no server at all : shoal", "rate", NO_SERVER, "shoal"),
    ),
    prepare=prepare,
)
