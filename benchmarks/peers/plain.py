"""The simplest transfer: the output of a command over a TCP connection."""

from contextlib import ExitStack
from dataclasses import dataclass

from tests.helpers.netns import Namespace

from benchmarks.peers.launch import own_argv, start

__all__ = ["OutputServer"]


@dataclass(frozen=True)
class OutputServer:
    """A running server that sends the output of a command to every client."""

    pid: int
    port: int

    @classmethod
    def start(
        cls, stack: ExitStack, namespace: Namespace, *command: object
    ) -> "OutputServer":
        """Start the server on every address of a namespace."""
        argv = own_argv("output_server", *command)
        program = start(stack, namespace, argv)
        port = int(program.wait_line(r"^listening (\d+)$", stream="out")[1])
        return cls(program.pid, port)

    def take_argv(self, host: str, command: str) -> list[str]:
        """Return the command line that pipes the stream into a shell command."""
        return ["bash", "-c", f"exec {command} < /dev/tcp/{host}/{self.port}"]
