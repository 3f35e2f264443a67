"""Network namespaces that a test makes for itself.

Everything that sends multicast or talks to a DHT runs inside one, so that no
packet of a test can leave the machine. A namespace lives as long as the process
that holds it, and that process ends when its standard input is closed, so
nothing survives a test run that was killed.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

__all__ = ["Namespace", "join_by_veth", "missing_namespaces"]

# Node sends multicast by the default route only, so `lo` has to be one.
_SETUP = """
ip link set lo up && ip link set lo multicast on &&
ip route add default dev lo && echo ready && exec cat
"""


def missing_namespaces() -> str | None:
    """Say why namespaces cannot be made here; None when they can."""
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        with Namespace():
            return None
    except OSError as error:
        return str(error)


class Namespace:
    """Hold one network namespace in which only `lo` is up."""

    def __init__(self) -> None:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._enter_user = bool(user)
        self._holder = subprocess.Popen(
            ["unshare", *user, "--net", "sh", "-c", _SETUP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            _, said = self._holder.communicate()
            raise OSError(f"no network namespace: {said.decode().strip()}")

    @property
    def pid(self) -> int:
        """Return the process id that other tools name the namespace by."""
        return self._holder.pid

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return `argv` so that it runs inside the namespace."""
        user = ["--user", "--preserve-credentials"] if self._enter_user else []
        return ["nsenter", "--target", str(self.pid), *user, "--net", "--", *argv]

    def run(self, *argv: str) -> str:
        """Run a short command inside, check it, return its output."""
        return subprocess.run(
            self.command(argv), check=True, capture_output=True, text=True, timeout=30
        ).stdout

    def close(self) -> None:
        """Let the namespace go; idempotent."""
        if self._holder.poll() is None:
            assert self._holder.stdin is not None
            self._holder.stdin.close()
            self._holder.wait(timeout=10)
        for pipe in (self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def join_by_veth(
    left: Namespace, right: Namespace, *, subnet: str = "10.77.0"
) -> tuple[str, str]:
    """Join two namespaces by a veth pair that becomes their default route.

    Returns the address of each end, left first.
    """
    left.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    left.run("ip", "link", "set", "v1", "netns", str(right.pid))
    ends = ((left, "v0", f"{subnet}.1"), (right, "v1", f"{subnet}.2"))
    for namespace, device, address in ends:
        namespace.run("ip", "addr", "add", f"{address}/24", "dev", device)
        namespace.run("ip", "link", "set", device, "up")
        namespace.run("ip", "route", "replace", "default", "dev", device)
    return ends[0][2], ends[1][2]
