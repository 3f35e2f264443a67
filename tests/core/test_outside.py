"""What a node concludes from the addresses at which others see it."""

from shoal.core.names.address import Address
from shoal.core.outside import MAX_REPORTS, MIN_NODES, NatKind, Outside

HERE = "8.8.1.1"  # what others see
OWN = frozenset({"192.168.1.7"})
UDP, TCP = 40_000, 4001


def node(number: int) -> str:
    """Return the address of a node in a network of its own."""
    return f"9.{number // 256}.{number % 256}.1"


def seen_at(ports: list[int], host: str = HERE) -> Outside:
    """Return what follows if each of several nodes sees one of the UDP ports."""
    outside = Outside()
    for number, port in enumerate(ports):
        outside.on_node(node(number), Address(host, port), UDP)
    return outside


def test_a_nat_that_keeps_the_port_is_recognised() -> None:
    outside = seen_at([UDP] * MIN_NODES)
    assert outside.kind(OWN) is NatKind.PRESERVING
    assert outside.host == HERE


def test_a_nat_with_one_other_port_is_recognised() -> None:
    assert seen_at([555] * MIN_NODES).kind(OWN) is NatKind.CHANGING


def test_the_port_of_a_nat_that_changes_it_is_known() -> None:
    assert seen_at([555] * MIN_NODES).changed_port(OWN) == 555
    assert seen_at([555] * (MIN_NODES - 1)).changed_port(OWN) is None


def test_no_port_is_known_of_a_nat_of_another_kind() -> None:
    for ports in ([UDP] * MIN_NODES, [5000 + n for n in range(MIN_NODES)]):
        assert seen_at(ports).changed_port(OWN) is None


def test_a_nat_with_a_port_for_each_destination_is_recognised() -> None:
    assert seen_at([5000 + n for n in range(MIN_NODES)]).kind(OWN) is NatKind.SYMMETRIC


def test_an_address_of_our_own_is_no_nat() -> None:
    assert seen_at([UDP] * MIN_NODES).kind(frozenset({HERE})) is NatKind.NONE


def test_nothing_follows_from_few_reports() -> None:
    outside = seen_at([UDP] * (MIN_NODES - 1))
    assert outside.kind(OWN) is NatKind.UNKNOWN
    assert outside.host is None


def test_many_reports_from_one_network_count_as_one() -> None:
    outside = Outside()
    for last in range(100):
        outside.on_node(f"9.9.9.{last}", Address(HERE, UDP), UDP)
    assert outside.kind(OWN) is NatKind.UNKNOWN


def test_a_quarter_of_liars_changes_nothing() -> None:
    outside = seen_at([UDP] * 9)
    for number in range(100, 103):
        outside.on_node(node(number), Address("9.9.9.9", 666), UDP)
    assert outside.host == HERE
    assert outside.kind(OWN) is NatKind.PRESERVING


def test_addresses_that_are_not_global_are_ignored() -> None:
    outside = seen_at([UDP] * 9, "192.168.1.7")
    outside.on_node("192.168.1.1", Address(HERE, UDP), UDP)
    outside.on_node(node(1), Address(HERE, 0), UDP)
    assert outside.kind(OWN) is NatKind.UNKNOWN
    assert not outside._nodes


def test_a_port_that_peers_of_two_networks_see_is_believed() -> None:
    outside = Outside()
    outside.on_peer(node(1), Address(HERE, 5555), TCP)
    assert outside.port(TCP) == TCP, "one peer could lie"
    outside.on_peer(node(2), Address(HERE, 5555), TCP)
    assert outside.port(TCP) == 5555
    assert outside.port(4002) == 4002, "it is the number of another port"


def test_a_port_that_differs_for_each_peer_is_not_believed() -> None:
    outside = Outside()
    for number in range(10):
        outside.on_peer(node(number), Address(HERE, 5000 + number), TCP)
    assert outside.port(TCP) == TCP


def test_old_reports_give_way_to_new_ones() -> None:
    outside = seen_at([UDP] * 1000)
    assert len(outside._nodes) == MAX_REPORTS
    for number in range(1000, 1000 + MAX_REPORTS):
        outside.on_node(node(number), Address("8.8.2.2", 77), UDP)
    assert outside.host == "8.8.2.2"
    outside.clear()
    assert outside.host is None
