"""The ways of packets through the simulated network: whom they reach, and as whose."""

from shoal.core.names.address import Address
from tests.simulator.hosts import Host

__all__ = ["let_in", "let_out", "source_address"]


def source_address(host: Host, target: str) -> str:
    """Return the address of a host from which it sends to another one."""
    net = target.rpartition(".")[0]
    same = [a for a in host.addresses if a.rpartition(".")[0] == net]
    return (same or host.addresses)[0]


def let_out(
    host: Host, source: Address, target: Address, hosts: list[Host], now: float
) -> Address:
    """Return the address that a packet seems to come from; let its answers in."""
    if _neighbour(host, target.host, hosts) is None:
        for nat in host.nats:
            source = nat.let_out(source, target, now)
    return source


def let_in(
    sender: Host, seen: Address, target: Address, hosts: list[Host], now: float
) -> tuple[Host, Address] | None:
    """Return the host that a packet reaches, and at which of its addresses.

    `seen` is the address that it seems to come from. None if it is dropped.
    """
    near = _neighbour(sender, target.host, hosts)
    if near is not None:
        return None if near.is_deaf else (near, target)
    if target.host == sender.outside:
        return None  # no NAT leads packets back to its own side
    gateways = {nat.host: nat for host in hosts for nat in host.site.nats}
    while (nat := gateways.get(target.host)) is not None:
        inner = nat.let_in(seen, target, now)
        if inner is None:
            return None
        target = inner
        del gateways[nat.host]
    for host in hosts:
        if target.host in host.addresses:
            is_shut = host.firewall and not host.firewall.let_in(seen, target, now)
            return None if is_shut or host.is_deaf else (host, target)
    return None


def _neighbour(host: Host, address: str, hosts: list[Host]) -> Host | None:
    """Return the host of the same site that has an address."""
    return next(
        (o for o in hosts if o.site is host.site and address in o.addresses), None
    )
