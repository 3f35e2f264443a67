"""The NATs and routes of the simulated network behave as docs/reach.md shows."""

from random import Random

import pytest

from shoal.core.names.address import Address
from tests.simulator.hosts import Host, make_sites
from tests.simulator.nat import (
    CHANGING,
    FIREWALL,
    FLOW_TIME,
    PRESERVING,
    SYMMETRIC,
    Nat,
)
from tests.simulator.plan import SitePlan
from tests.simulator.routes import let_in, let_out

INNER = Address("192.168.0.10", 4000)
PEER = Address("45.5.5.5", 5000)
OTHER = Address("45.6.6.6", 5000)


def make_nat(kind: str) -> Nat:
    """Return a NAT that has let nothing out."""
    return Nat(kind, Random(1), "45.1.0.1")


@pytest.mark.parametrize("kind", [PRESERVING, CHANGING, SYMMETRIC, FIREWALL])
def test_only_the_address_and_port_that_a_packet_went_to_get_in(kind: str) -> None:
    nat = make_nat(kind)
    outer = nat.let_out(INNER, PEER, 0.0)
    assert nat.let_in(PEER, outer, 1.0) == INNER
    assert nat.let_in(OTHER, outer, 1.0) is None
    assert nat.let_in(PEER._replace(port=5001), outer, 1.0) is None
    assert nat.let_in(PEER, outer, FLOW_TIME + 1) is None


def test_each_kind_chooses_its_ports() -> None:
    for kind in (PRESERVING, FIREWALL):
        assert make_nat(kind).let_out(INNER, PEER, 0.0).port == INNER.port
    changing, symmetric = make_nat(CHANGING), make_nat(SYMMETRIC)
    to_both = [changing.let_out(INNER, each, 0.0) for each in (PEER, OTHER)]
    assert to_both[0] == to_both[1]
    assert to_both[0].port != INNER.port
    drawn = [symmetric.let_out(INNER, each, 0.0) for each in (PEER, OTHER)]
    assert drawn[0].port != drawn[1].port


def test_two_machines_with_one_port_and_one_destination_get_two_ports() -> None:
    nat = make_nat(PRESERVING)
    first = nat.let_out(INNER, PEER, 0.0)
    second = nat.let_out(INNER._replace(host="192.168.0.11"), PEER, 0.0)
    assert first.port != second.port


def test_a_packet_passes_a_nat_behind_a_nat_only_as_an_answer() -> None:
    home, server = make_sites(
        [SitePlan(True, False, carrier=0), SitePlan(False, False)], Random(1)
    )
    inside = Host("m0", home, [INNER.host])
    outside = Host("m1", server, [PEER.host])
    hosts = [inside, outside]
    target = Address(home.public, INNER.port)
    assert let_in(outside, PEER, target, hosts, 0.0) is None
    assert let_out(inside, INNER, PEER, hosts, 0.0) == target
    assert let_in(outside, PEER, target, hosts, 1.0) == (inside, INNER)
    assert let_in(inside, INNER, target, hosts, 1.0) is None


@pytest.mark.parametrize("keeps_port", [True, False])
def test_a_mapped_port_lets_everyone_in_until_it_is_unmapped(
    *, keeps_port: bool
) -> None:
    nat = make_nat(SYMMETRIC)
    outer = nat.map(INNER, keeps_port=keeps_port)
    assert (outer.port == INNER.port) is keeps_port
    assert nat.map(INNER, keeps_port=keeps_port) == outer
    other = nat.map(Address("192.168.0.11", INNER.port), keeps_port=keeps_port)
    assert other.port not in (outer.port, INNER.port)
    assert nat.let_in(OTHER, outer, 0.0) == INNER
    nat.unmap(INNER)
    assert nat.let_in(OTHER, outer, 0.0) is None
