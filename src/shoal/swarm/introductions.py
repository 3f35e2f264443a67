"""Introduce the peers of a share to each other (docs/protocol.md, "Peer addresses").

A peer that has just connected gets the addresses of the others, and they get its
address. Two on the internet are told to dial each other at the same time, because both
may be behind NATs (docs/protocol.md, "Meetings").
"""

from collections.abc import Iterable
from typing import NamedTuple

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.wire.sealed_messages import MAX_MEET_WAIT, MAX_PEERS, Hello, Meeting
from shoal.discovery.combined import Networks
from shoal.swarm.peer import Peer

__all__ = ["Introductions", "arrange_meeting", "note_seen"]

MAX_MEETINGS = 16  # arranged for each new peer; it dials the others when it can


class _Place(NamedTuple):
    """Where a node may be dialled."""

    endpoint: Address
    ports: list[int]
    """Those of its host: a NAT that keeps one for each socket may have several."""


class Introductions:
    """Introduce every new peer, at all addresses that its node was connected from.

    A node that dials by IPv4 and by IPv6 keeps one of these connections. As long as it
    does, its last address of the other family on the internet is named as well.
    """

    def __init__(self, peers: Iterable[Peer]) -> None:
        """Introduce the peers that `peers` yields now and later."""
        self._peers = peers
        # By the node, then by whether it is IPv6.
        self._places: dict[bytes, dict[bool, _Place]] = {}

    def introduce(self, newcomer: Peer) -> None:
        """Send a new peer the addresses of the others, and its own to them."""
        self._note(newcomer)
        others = [each for each in self._peers if each is not newcomer]
        others = [each for each in others if each.is_greeted]
        listed = [each for each in others if newcomer.may_know(each)]
        known = [place.endpoint for each in listed for place in self._of(each)]
        newcomer.introduce(dict.fromkeys(known[-MAX_PEERS:]))
        ours = [place.endpoint for place in self._of(newcomer)]
        for each in others[-MAX_PEERS:]:
            if each.may_know(newcomer):
                each.introduce(ours)
        mutual = [each for each in listed if _may_meet(each, newcomer)]
        for each in mutual[-MAX_MEETINGS:]:
            for place in self._of(each):
                arrange_meeting(newcomer, each, place)
            for place in self._of(newcomer):
                arrange_meeting(each, newcomer, place)

    def _note(self, newcomer: Peer) -> None:
        """Remember where a node is, and forget those that are gone."""
        nodes = {each.node_id for each in self._peers}
        for gone in self._places.keys() - nodes:
            del self._places[gone]
        place = _place_of(newcomer)
        if place.endpoint.port and scope_of(place.endpoint.host) is Scope.GLOBAL:
            if not newcomer.is_relayed:
                places = self._places.setdefault(newcomer.node_id, {})
                places[":" in place.endpoint.host] = place

    def _of(self, peer: Peer) -> list[_Place]:
        """Return where a peer is, and where its node was by the other family."""
        here = _place_of(peer)
        if scope_of(here.endpoint.host) is not Scope.GLOBAL:
            return [here]
        former = self._places.get(peer.node_id, {}).get(":" not in here.endpoint.host)
        return [here] if former is None else [here, former]


def arrange_meeting(peer: Peer, other: Peer, place: _Place | None = None) -> None:
    """Have a peer dial another one, which is asked to dial this one.

    The one that hears of it first waits, so that both dial at the same time.
    """
    endpoint, ports = _place_of(other) if place is None else place
    sooner = max(0.0, other.connection.rtt - peer.connection.rtt) / 2
    wait = min(round(1000 * sooner), MAX_MEET_WAIT)
    peer.connection.session.send(Meeting(endpoint.host, ports, wait))
    peer.connection.flush()


def _place_of(peer: Peer) -> _Place:
    endpoint = peer.endpoint
    # A NAT that keeps one port for each socket may not keep the same one.
    outer = endpoint.port if peer.dialled else peer.connection.address.port
    return _Place(endpoint, list(dict.fromkeys([endpoint.port, outer])))


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
