"""Check how nodes dial: how many at once, and addresses that only liars claim."""

from collections.abc import Callable

from shoal.core.dials import INTRODUCTION_PERIOD, MAX_INTRODUCED_PORTS, MAX_PUNCHES
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.transfer.dialler import MAX_DIALS

__all__ = ["VICTIMS", "DialWatch"]

VICTIMS = "45.66."  # the addresses of machines that have never heard of shoal
SLACK = 0.1  # seconds until a dial that was decided upon begins


class DialWatch:
    """Note each dial of one world."""

    def __init__(self, report: Callable[[str], None], shares: int) -> None:
        """Report what is forbidden to a node that is in this many shares at most."""
        self._report = report
        # Some dials of the second share of two peers are from two ports.
        self._most = MAX_PUNCHES + 2 * MAX_DIALS * shares
        self._open: dict[str, int] = {}  # dials to the internet, by process
        self._victims: dict[str, dict[Address, float]] = {}  # last dials, by process

    def on_begin(self, process: str, address: Address, now: float) -> None:
        """Note that a process dials an address."""
        if scope_of(address.host) is not Scope.GLOBAL:
            return
        count = self._open[process] = self._open.get(process, 0) + 1
        if count > self._most:
            self._report(f"{process} dials {count} addresses at a time")
        if address.host.startswith(VICTIMS):
            self._on_victim(process, address, now)

    def on_end(self, process: str, address: Address) -> None:
        """Note that a dial has ended."""
        if scope_of(address.host) is Scope.GLOBAL:
            self._open[process] -= 1

    def _on_victim(self, process: str, address: Address, now: float) -> None:
        dialled = self._victims.setdefault(process, {})
        since = now - INTRODUCTION_PERIOD + SLACK
        if dialled.get(address, since) > since:
            self._report(f"{process} dials {address} twice in a minute")
        dialled[address] = now
        latest = (when for each, when in dialled.items() if each.host == address.host)
        count = sum(when > since for when in latest)
        if count > MAX_INTRODUCED_PORTS:
            self._report(f"{process} dials {count} ports of {address.host} in a minute")
