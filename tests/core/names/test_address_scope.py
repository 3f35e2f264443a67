"""Check which addresses are accepted from whom."""

import pytest

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, is_acceptable, scope_of, subnet_of


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("8.8.8.8", Scope.GLOBAL),
        ("172.32.0.1", Scope.GLOBAL),
        ("100.63.255.255", Scope.GLOBAL),
        ("10.0.0.1", Scope.PRIVATE),
        ("172.16.0.1", Scope.PRIVATE),
        ("172.31.255.254", Scope.PRIVATE),
        ("192.168.1.7", Scope.PRIVATE),
        ("100.64.0.1", Scope.PRIVATE),
        ("127.0.0.1", Scope.LOOPBACK),
        ("127.200.0.1", Scope.LOOPBACK),
        ("0.0.0.0", Scope.NONE),
        ("0.1.2.3", Scope.NONE),
        ("169.254.169.254", Scope.NONE),
        ("192.0.2.1", Scope.NONE),
        ("198.18.0.1", Scope.NONE),
        ("224.0.0.251", Scope.NONE),
        ("239.255.255.250", Scope.NONE),
        ("240.0.0.1", Scope.NONE),
        ("255.255.255.255", Scope.NONE),
        ("router.example", Scope.NONE),
        ("::1", Scope.NONE),
    ],
)
def test_scopes(host: str, scope: Scope) -> None:
    assert scope_of(host) is scope


@pytest.mark.parametrize(
    ("host", "source", "believed"),
    [
        ("8.8.8.8", "9.9.9.9", True),
        ("8.8.8.8", "10.0.0.1", True),
        ("8.8.8.8", "127.0.0.1", True),
        ("192.168.1.7", "9.9.9.9", False),
        ("192.168.1.7", "10.0.0.1", True),
        ("192.168.1.7", "127.0.0.1", True),
        ("127.0.0.1", "9.9.9.9", False),
        ("127.0.0.1", "10.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("224.0.0.1", "127.0.0.1", False),
        ("169.254.169.254", "127.0.0.1", False),
    ],
)
def test_addresses_of_a_network_are_accepted_only_from_that_network(
    host: str, source: str, believed: bool
) -> None:
    assert is_acceptable(Address(host, 4001), source) is believed


@pytest.mark.parametrize("port", [0, 22, 53, 1023])
def test_ports_of_well_known_services_are_not_accepted(port: int) -> None:
    assert not is_acceptable(Address("8.8.8.8", port), "127.0.0.1")
    assert is_acceptable(Address("8.8.8.8", port + 1024), "127.0.0.1")


def test_only_global_addresses_have_a_subnet() -> None:
    assert subnet_of("8.8.4.4") == "8.8.4"
    assert subnet_of("127.0.0.1") is None
    assert subnet_of("192.168.1.7") is None
