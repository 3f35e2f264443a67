"""Many small chunks over one connection: what a message costs."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program

from benchmarks.chunk_client import CHUNK, DEPTH, PIPELINED
from benchmarks.files import make_file
from benchmarks.measure import MemoryWatch, cpu_seconds, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers import NodeServer, Share, has_node

__all__ = ["WORKLOAD"]

SIZE = 16 * 1024 * 1024  # bytes in the file that is served


def prepare(setup: Setup) -> Sequence[Side]:
    """Start every server once; a run is one client."""
    namespace = setup.stack.enter_context(Namespace())
    source = setup.scratch / "source"
    make_file(source, SIZE)
    sides = []
    share = Share.start(setup, namespace, source, "--open", "bench")
    sides.append(_side("shoal", namespace, source, share.pid, share.port))
    if has_node(setup):
        server = NodeServer.start(setup, namespace, source, "node-bench")
        sides.append(_side("node", namespace, source, server.pid, server.port))
    argv = [sys.executable, "-m", "benchmarks.replay_server"]
    replay = setup.stack.enter_context(Program(argv, namespace=namespace))
    port = int(replay.wait_line(r"^listening (\d+)$")[1])
    sides.append(_side("no server at all", namespace, source, replay.pid, port))
    return sides


def _side(name: str, ns: Namespace, source: Path, pid: int, port: int) -> Side:
    return Side(name, partial(_run, ns, source, pid, port, name != "no server at all"))


def _run(
    namespace: Namespace, source: Path, pid: int, port: int, is_checked: bool
) -> Sample:
    argv = [sys.executable, "-m", "benchmarks.chunk_client", str(port), str(source)]
    if not is_checked:
        argv.append("--unchecked")
    before = cpu_seconds(pid)
    with MemoryWatch(pid) as memory:
        outcome = run_client(argv, namespace=namespace)
    figures: dict[str, float] = json.loads(outcome.stdout)
    return {
        **figures,
        "server_cpu": cpu_seconds(pid) - before,
        "server_peak": memory.peak,
    }


WORKLOAD = Workload(
    name="pipelined",
    title=f"Chunks of {CHUNK:,} bytes over one connection on loopback",
    how=(
        f"{PIPELINED:,} chunks of a named channel are asked for in random order, "
        f"{DEPTH} requests outstanding, then 4,096 one at a time. All servers are "
        "driven by one and the same client, which sends requests encoded before and "
        "counts the bytes that come. That it is not the bottleneck is shown by the "
        "last line, where a server that reads nothing sends answers made before. "
        "CPU seconds of the server are those of both parts."
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
        Ratio("chunks/s, shoal : node", "rate", "shoal", "node", "at least 3"),
        Ratio("p50 alone, shoal : node", "p50", "shoal", "node", "below 1"),
        Ratio(
            "chunks/s, no server at all : shoal", "rate", "no server at all", "shoal"
        ),
    ),
    prepare=prepare,
)
