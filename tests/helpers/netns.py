"""Network namespaces for tests.

Programs that send multicast or use a DHT run inside one, so no packet of a test can
leave the machine. A namespace exists as long as the process that holds it. This process
ends when its standard input closes, so a killed test run leaves nothing behind.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Self

__all__ = ["Namespace", "join_by_veth", "join_home", "missing_namespaces"]

# Node sends multicast by the default route only, so `lo` must be the default route.
_SETUP = """
ip link set lo up && ip link set lo multicast on &&
ip route add default dev lo && echo ready && exec cat
"""


def missing_namespaces() -> str | None:
    """Return why namespaces cannot be made here; None if they can."""
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        with Namespace():
            return None
    except OSError as error:
        return str(error)


class Namespace:
    """A network namespace in which only `lo` is up."""

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
        """Return the process id by which other tools find the namespace."""
        return self._holder.pid

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` inside the namespace."""
        user = ["--user", "--preserve-credentials"] if self._enter_user else []
        return ["nsenter", "--target", str(self.pid), *user, "--net", "--", *argv]

    def run(self, *argv: str) -> str:
        """Run a short command inside; return its output, or raise if it fails."""
        return subprocess.run(
            self.command(argv), check=True, capture_output=True, text=True, timeout=30
        ).stdout

    def close(self) -> None:
        """Remove the namespace; idempotent."""
        if self._holder.poll() is None:
            assert self._holder.stdin is not None
            self._holder.stdin.close()
            self._holder.wait(timeout=10)
        for pipe in (self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def join_by_veth(
    left: Namespace, right: Namespace, *, subnet: str = "10.77.0"
) -> tuple[str, str]:
    """Join two namespaces by a veth pair, which becomes their default route.

    Return the addresses of the left and the right end.
    """
    left.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    left.run("ip", "link", "set", "v1", "netns", str(right.pid))
    ends = ((left, "v0", f"{subnet}.1"), (right, "v1", f"{subnet}.2"))
    for namespace, device, address in ends:
        namespace.run("ip", "addr", "add", f"{address}/24", "dev", device)
        namespace.run("ip", "link", "set", device, "up")
        namespace.run("ip", "route", "replace", "default", "dev", device)
    return ends[0][2], ends[1][2]


def join_home(router: Namespace, inside: Namespace) -> None:
    """Join a machine, 192.168.9.2, to a router, which passes its packets on."""
    router.run("ip", "link", "add", "h0", "type", "veth", "peer", "name", "h1")
    router.run("ip", "link", "set", "h1", "netns", str(inside.pid))
    router.run("ip", "addr", "add", "192.168.9.1/24", "dev", "h0")
    router.run("ip", "link", "set", "h0", "up")
    inside.run("ip", "addr", "add", "192.168.9.2/24", "dev", "h1")
    inside.run("ip", "link", "set", "h1", "up")
    inside.run("ip", "route", "replace", "default", "via", "192.168.9.1")
    router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
