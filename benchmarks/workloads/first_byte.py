"""From the start of a process to the first byte of a chunk found on the LAN."""

from collections.abc import Sequence
from functools import partial

from tests.helpers.netns import Namespace

from benchmarks.files import make_file
from benchmarks.measure import run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.shoal import Share, shoal_argv
from benchmarks.peers.workshop import NodeServer, missing_node, node_argv

__all__ = ["WORKLOAD"]

CHUNK = 1024  # bytes
MIB = 2**-20


def prepare(setup: Setup) -> Sequence[Side]:
    """Start one server of each kind, each with its own channel."""
    namespace = setup.stack.enter_context(Namespace())
    source = setup.scratch / "source"
    make_file(source, 8 * CHUNK)
    chunk = source.read_bytes()[:CHUNK]
    run = partial(_run, namespace)
    Share.start(setup, namespace, source, "--open", "ours")
    ours = shoal_argv("chunk", "ours", 0, "--lan-only")
    sides = [Side("shoal from shoal", partial(run, ours, chunk))]
    if setup.admits("node from node", missing_node):
        NodeServer.start(setup, namespace, source, "theirs")
        mixed = shoal_argv("chunk", "theirs", 0, "--lan-only")
        sides += [
            Side("shoal from node", partial(run, mixed, chunk)),
            Side("node from node", partial(run, _node("theirs"), chunk)),
            Side("node from shoal", partial(run, _node("ours"), chunk)),
        ]
    return sides


def _node(channel: str) -> list[str]:
    return node_argv("client.js", channel, 0)


def _run(namespace: Namespace, argv: list[str], chunk: bytes) -> Sample:
    outcome = run_client(argv, namespace=namespace)
    assert outcome.stdout == chunk, "the client wrote other bytes than the chunk"
    return {
        "first_byte": outcome.first_byte,
        "wall": outcome.wall,
        "cpu": outcome.cpu,
        "peak": outcome.memory.peak,
    }


WORKLOAD = Workload(
    name="first-byte",
    title="From the start of a process to the first byte of a chunk on the LAN",
    how=(
        "The server runs and is announced in its own network namespace. The "
        "client is a new process that finds it by multicast and writes one chunk of "
        "1,024 bytes. The page cache and the byte code are warm."
    ),
    columns=(
        Column("first_byte", "first byte ms", 0, 1e3),
        Column("wall", "end ms", 0, 1e3),
        Column("cpu", "CPU ms", 0, 1e3),
        Column("peak", "peak MiB", 1, MIB),
    ),
    ratios=(
        Ratio(
            "first byte, shoal : node",
            "first_byte",
            "shoal from shoal",
            "node from node",
            "at most 1",
        ),
        Ratio(
            "first byte from a Node server, shoal : node",
            "first_byte",
            "shoal from node",
            "node from node",
            "at most 1",
        ),
    ),
    prepare=prepare,
)
