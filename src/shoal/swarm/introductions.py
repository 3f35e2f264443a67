"""Introduce the peers of a share to each other (docs/protocol.md, "Peer addresses").

A peer that has just connected gets the addresses of the others, and they get its
address. Two on the internet are told to dial each other at the same time, because both
may be behind NATs (docs/protocol.md, "Meetings").
"""

from collections.abc import Iterable

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.wire.sealed_messages import MAX_MEET_WAIT, MAX_PEERS, Hello, Meeting
from shoal.discovery.combined import Networks
from shoal.swarm.peer import Peer

__all__ = ["arrange_meeting", "introduce", "note_seen"]

MAX_MEETINGS = 16  # arranged for each new peer; it dials the others when it can


def introduce(newcomer: Peer, peers: Iterable[Peer]) -> None:
    """Send a new peer the addresses of the others, and its address to them."""
    others = [each for each in peers if each is not newcomer and each.is_greeted]
    listed = [each for each in others if newcomer.may_know(each)]
    newcomer.introduce(each.endpoint for each in listed[-MAX_PEERS:])
    for each in others[-MAX_PEERS:]:
        if each.may_know(newcomer):
            each.introduce([newcomer.endpoint])
    mutual = [each for each in listed if _may_meet(each, newcomer)]
    for each in mutual[-MAX_MEETINGS:]:
        arrange_meeting(newcomer, each)
        arrange_meeting(each, newcomer)


def arrange_meeting(peer: Peer, other: Peer) -> None:
    """Have a peer dial another one, which is asked to dial this one.

    The one that hears of it first waits, so that both dial at the same time.
    """
    host, port = other.endpoint
    # A NAT that keeps one port for each socket may not keep the same one.
    ports = [port] if other.dialled else [port, other.connection.address.port]
    sooner = max(0.0, other.connection.rtt - peer.connection.rtt) / 2
    wait = min(round(1000 * sooner), MAX_MEET_WAIT)
    peer.connection.session.send(Meeting(host, list(dict.fromkeys(ports)), wait))
    peer.connection.flush()


def note_seen(peer: Peer, hello: Hello, port: int, networks: Networks) -> None:
    """Note at which address a peer sees our TCP port.

    A connection from another port than the one that we listen on says nothing of it
    (docs/protocol.md, "Own addresses").
    """
    connection = peer.connection
    if hello.seen is not None and connection.local_address.port == port:
        networks.on_seen(connection.address.host, Address(*hello.seen), port)


def _may_meet(one: Peer, other: Peer) -> bool:
    """Return True if two peers on the internet can be told to dial each other."""
    hosts = {one.endpoint.host, other.endpoint.host}
    is_global = all(scope_of(host) is Scope.GLOBAL for host in hosts)
    return is_global and len(hosts) == 2 and one.may_know(other) and other.may_know(one)
