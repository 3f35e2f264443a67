"""From the start of a process to the first byte of a chunk found on the LAN."""

import sys
from collections.abc import Sequence
from functools import partial

from tests.helpers.netns import Namespace

from benchmarks.files import make_file
from benchmarks.measure import run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers import NodeServer, Share, has_node, node_argv, shoal_argv

__all__ = ["WORKLOAD"]

CHUNK = 1024  # bytes
MIB = 2**-20


def prepare(setup: Setup) -> Sequence[Side]:
    """Start one server of each kind, on channels of their own."""
    namespace = setup.stack.enter_context(Namespace())
    source = setup.scratch / "source"
    make_file(source, 8 * CHUNK)
    chunk = source.read_bytes()[:CHUNK]
    run = partial(_run, namespace)
    Share.start(setup, namespace, source, "--open", "ours")
    ours = shoal_argv("chunk", "ours", 0, "--lan-only")
    sides = [Side("shoal from shoal", partial(run, ours, chunk))]
    if has_node(setup):
        NodeServer.start(setup, namespace, source, "theirs")
        mixed = shoal_argv("chunk", "theirs", 0, "--lan-only")
        sides += [
            Side("shoal from node", partial(run, mixed, chunk)),
            Side("node from node", partial(run, _node("theirs"), chunk)),
            Side("node from shoal", partial(run, _node("ours"), chunk)),
        ]
    python = sys.executable
    sides += [
        Side("shoal --help", partial(run, shoal_argv("--help"))),
        Side("import shoal", partial(run, [python, "-c", "import shoal"])),
        Side("python alone", partial(run, [python, "-c", "pass"])),
    ]
    return sides


def _node(channel: str) -> list[str]:
    return node_argv("client.js", channel, 0)


def _run(namespace: Namespace, argv: list[str], chunk: bytes | None = None) -> Sample:
    outcome = run_client(argv, namespace=namespace)
    sample = {
        "first_byte": outcome.first_byte,
        "wall": outcome.wall,
        "cpu": outcome.cpu,
    }
    if chunk is not None:
        assert outcome.stdout == chunk, "that is not the chunk"
        # The others end before their memory can be looked at.
        sample["peak"] = outcome.memory.peak
    return sample


WORKLOAD = Workload(
    name="first-byte",
    title="From the start of a process to the first byte of a chunk on the LAN",
    how=(
        "The server runs and is announced in a network namespace of its own; the "
        "client is a fresh process that finds it by multicast and writes one chunk "
        "of 1,024 bytes. Page cache and byte code are warm. The last lines say what "
        "of that is Python itself."
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
            "below 1",
        ),
        Ratio(
            "first byte from a Node server, shoal : node",
            "first_byte",
            "shoal from node",
            "node from node",
            "below 1",
        ),
    ),
    prepare=prepare,
)
