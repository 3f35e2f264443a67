"""The Node programs of the p2p workshop, with TCP_NODELAY.

Without TCP_NODELAY, each chunk waits for a delayed acknowledgement, and a comparison
would be pointless.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.programs import NODE_PROGRAMS, missing_node

from benchmarks.model import Setup
from benchmarks.peers.launch import start
from benchmarks.transfer import Fetch, Job, Peer, Way

__all__ = ["PAIR", "NodeServer", "missing_node", "node_argv"]

CHUNK = 1024 * 1024  # bytes, as in the open channel of shoal


def node_argv(script: str, *args: object) -> list[str]:
    """Return the command line of one of the Node programs."""
    return ["node", str(NODE_PROGRAMS / script), *map(str, args)]


@dataclass(frozen=True)
class NodeServer:
    """A running server of a named channel."""

    pid: int
    port: int

    @classmethod
    def start(
        cls, setup: Setup, namespace: Namespace, path: Path, name: str
    ) -> "NodeServer":
        """Serve a file on a named channel in chunks of 1,024 bytes."""
        argv = node_argv("server.js", path, name, "--nodelay")
        program = start(setup.stack, namespace, argv)
        return cls(program.pid, int(program.wait_line(r"^listening (\d+)$")[1]))


def _start(job: Job) -> Way:
    argv = node_argv("hash-server.js", job.source, CHUNK, "--nodelay")
    server = start(job.setup.stack, job.namespace, argv)
    channel = server.wait_line("^[0-9a-f]{64}$", 60, stream="out")[0]
    server.wait_line("^listening ")
    target = job.folder("workshop") / "target"
    get = node_argv("hash-client.js", channel, target, "--nodelay")
    return lambda stack: Fetch(get, target, [server.pid])


PAIR = Peer(
    name="node",
    how=(
        "the workshop's pair of programs with TCP_NODELAY, which find each other by "
        "multicast; an open channel in chunks of 1 MiB, every chunk verified."
    ),
    missing=missing_node,
    start=_start,
)
