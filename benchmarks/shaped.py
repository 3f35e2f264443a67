"""Hosts on one switch, each with the upload rate of a home connection.

A host is a network namespace with one device; another namespace holds the bridge that
joins the hosts. A token bucket filter limits outgoing traffic; incoming traffic is not
limited.
"""

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass

from tests.helpers.netns import Namespace

__all__ = ["SHAPER", "Host", "make_hosts", "missing_shaper"]

SHAPER = "rate 40mbit burst 64kb latency 100ms"
"""Arguments of `tc` for the filter."""
_DEVICE = "eth0"
_SUBNET = "10.77.0"


@dataclass(frozen=True)
class Host:
    """One host and its address."""

    namespace: Namespace
    address: str

    def transmitted(self) -> int:
        """Return the bytes that its device has sent, including headers."""
        said = self.namespace.run("ip", "-s", "-j", "link", "show", "dev", _DEVICE)
        count: int = json.loads(said)[0]["stats64"]["tx"]["bytes"]
        return count


def missing_shaper() -> str | None:
    """Return why this machine cannot limit traffic; None if it can."""
    if shutil.which("tc") is None:
        return "tc is not installed"
    with ExitStack() as stack:
        try:
            make_hosts(stack, 1)
        except OSError as error:
            return f"no namespaces: {error}"
        except Exception as error:
            said = getattr(error, "stderr", "") or str(error)
            return f"no bridge or no token bucket filter: {said.strip()}"
    return None


def make_hosts(stack: ExitStack, count: int) -> list[Host]:
    """Make hosts that reach each other; closing `stack` removes them."""
    switch = stack.enter_context(Namespace())
    switch.run("ip", "link", "add", "br0", "type", "bridge")
    switch.run("ip", "link", "set", "br0", "up")
    return [_join(stack, switch, number) for number in range(1, count + 1)]


def _join(stack: ExitStack, switch: Namespace, number: int) -> Host:
    namespace = stack.enter_context(Namespace())
    port, address = f"port{number}", f"{_SUBNET}.{number}"
    switch.run(
        *("ip", "link", "add", port, "type", "veth"),
        *("peer", "name", _DEVICE, "netns", str(namespace.pid)),
    )
    switch.run("ip", "link", "set", port, "master", "br0")
    switch.run("ip", "link", "set", port, "up")
    namespace.run("ip", "addr", "add", f"{address}/24", "dev", _DEVICE)
    namespace.run("ip", "link", "set", _DEVICE, "up")
    namespace.run(
        *("tc", "qdisc", "add", "dev", _DEVICE, "root", "tbf"), *SHAPER.split()
    )
    return Host(namespace, address)
