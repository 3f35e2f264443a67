"""Decide which peer loses its place when more connect than there are places; pure.

Any holder can open as many connections as there are places, and use each of them just
enough. So places are shared out among hosts, and those of one host among its node ids:
the one with the most loses one first. A node id is a claim and an attacker may invent
any number, but only those of its own host compete with them.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeAlias, TypeVar

__all__ = ["MAX_CONNECTIONS", "Owner", "first_of_crowd", "most_crowded", "places_of"]

MAX_CONNECTIONS = 192  # with the peers of one share
# The maker of a link chooses how many chunks there are, and its peers which they have.
MAX_BITFIELDS = 64 << 20  # bytes of the bitfields of all peers of one share
MIN_CONNECTIONS = 8  # however large they are

P = TypeVar("P")

Owner: TypeAlias = tuple[Hashable, Hashable]
"""The host of a connection, and the node at this host that it belongs to."""


def places_of(chunks: int) -> int:
    """Return how many peers a share of this many chunks may be connected with."""
    fitting = 8 * MAX_BITFIELDS // max(chunks, 1)
    return min(max(fitting, MIN_CONNECTIONS), MAX_CONNECTIONS)


def most_crowded(
    holders: Iterable[P], owner_of: Callable[[P], Owner], newcomer: Owner
) -> list[P]:
    """Return the holders of places of which one should leave for a newcomer.

    They belong to the owner with the most places, at the host with the most places.
    There are none if that host has no more places than the newcomer's host would have,
    and that owner no more than the newcomer.
    """
    listed = [(owner_of(each), each) for each in holders]
    hosts = Counter(host for (host, _), _ in listed)
    owners = Counter(owner for owner, _ in listed)

    def crowd(owner: Owner) -> tuple[int, int]:
        return hosts[owner[0]], owners[owner]

    most = max((crowd(owner) for owner, _ in listed), default=(0, 0))
    host, _ = newcomer
    if hosts[host] + 1 >= most[0]:
        # Another host would gain nothing by giving up a place; the same one might.
        listed = [each for each in listed if each[0][0] == host]
        most = max((crowd(owner) for owner, _ in listed), default=(0, 0))
        if owners[newcomer] + 1 >= most[1]:
            return []
    return [holder for owner, holder in listed if crowd(owner) == most]


def first_of_crowd(holders: Iterable[P], host_of: Callable[[P], Hashable]) -> P:
    """Return the first holder of a place, in order, of the host with the most places.

    It leaves for a newcomer, which may be of the same host: so a host that takes all
    places competes with itself. Raises `ValueError` if there is no holder.
    """
    listed = [(host_of(each), each) for each in holders]
    hosts = Counter(host for host, _ in listed)
    most = max(hosts.values())
    return next(holder for host, holder in listed if hosts[host] == most)
