"""Machines on one LAN, each a network namespace of its own, joined by a bridge."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.helpers.netns import Namespace

__all__ = ["machines_on_a_lan"]

_DAD = "/proc/sys/net/ipv6/conf/v0/accept_dad"


@contextmanager
def machines_on_a_lan(
    count: int, subnet: str = "10.79.0", prefix: str = ""
) -> Iterator[list[Namespace]]:
    """Yield this many namespaces with the addresses `subnet`.1, .2 and so on.

    With a `prefix` such as `fd79::`, they have the IPv6 addresses `prefix`1, `prefix`2
    and so on as well; with an empty `subnet`, these only.
    """
    with ExitStack() as stack:
        switch = stack.enter_context(Namespace())
        switch.run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        switch.run("ip", "link", "set", "br0", "up")
        machines = [stack.enter_context(Namespace()) for _ in range(count)]
        for number, machine in enumerate(machines, 1):
            far = f"p{number}"
            words = ("ip", "link", "add", "v0", "type", "veth", "peer", "name", far)
            machine.run(*words)
            machine.run("ip", "link", "set", far, "netns", str(switch.pid))
            switch.run("ip", "link", "set", far, "master", "br0", "up")
            # Addresses can be used at once, without a search for duplicates.
            machine.run("sh", "-c", f"echo 0 > {_DAD}")
            machine.run("ip", "link", "set", "v0", "up")
            if subnet:
                machine.run("ip", "addr", "add", f"{subnet}.{number}/24", "dev", "v0")
                machine.run("ip", "route", "replace", "default", "dev", "v0")
            if prefix:
                machine.run("ip", "addr", "add", f"{prefix}{number}/64", "dev", "v0")
                machine.run("ip", "-6", "route", "replace", "default", "dev", "v0")
        yield machines
