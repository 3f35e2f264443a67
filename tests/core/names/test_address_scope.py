"""Check which addresses are accepted from whom."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.address import Address, named_address, parse_address
from shoal.core.names.address_scope import (
    NEAR_SCOPES,
    Scope,
    canonical_host,
    host_key,
    is_acceptable,
    scope_of,
    slot_of,
    subnet_of,
)


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
        ("2001:4860:4860::8888", Scope.GLOBAL),
        ("2a01:4f8:1:2::3", Scope.GLOBAL),
        ("::ffff:8.8.8.8", Scope.GLOBAL),
        ("64:ff9b::808:808", Scope.GLOBAL),
        ("fd00::1", Scope.PRIVATE),
        ("fc12:3456::1", Scope.PRIVATE),
        ("::ffff:10.0.0.1", Scope.PRIVATE),
        ("fe80::1", Scope.LINK),
        ("fe80::1%eth0", Scope.LINK),
        ("::1", Scope.LOOPBACK),
        ("::ffff:127.0.0.1", Scope.LOOPBACK),
        ("::", Scope.NONE),
        ("::ffff:169.254.169.254", Scope.NONE),
        ("::7f00:1", Scope.NONE),
        ("64:ff9b::a00:1", Scope.NONE),
        ("64:ff9b::7f00:1", Scope.NONE),
        ("64:ff9b::a9fe:a9fe", Scope.NONE),
        ("64:ff9b:1::808:808", Scope.NONE),
        ("100::1", Scope.NONE),
        ("2001::1", Scope.NONE),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Scope.NONE),
        ("2001:db8::1", Scope.NONE),
        ("2002:808:808::1", Scope.NONE),
        ("2002:a00:1::1", Scope.NONE),
        ("3fff::1", Scope.NONE),
        ("5f00::1", Scope.NONE),
        ("fec0::1", Scope.NONE),
        ("ff02::fb", Scope.NONE),
        ("ff0e::1", Scope.NONE),
        ("fd00::1%lo", Scope.NONE),
        ("0" * 70 + "::1", Scope.NONE),
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
        ("2a01::1", "2a02::1", True),
        ("2a01::1", "9.9.9.9", True),
        ("8.8.8.8", "fe80::1%a", True),
        ("fd00::1", "2a01::1", False),
        ("fd00::1", "fd00::2", True),
        ("fd00::1", "10.0.0.1", True),
        ("fd00::1", "fe80::1%a", True),
        ("10.0.0.1", "fe80::1%a", True),
        ("::1", "fe80::1%a", False),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", True),
        ("fe80::2%a", "fe80::1%a", True),
        ("fe80::2%b", "fe80::1%a", False),
        ("fe80::2%a", "2a01::1", False),
        ("fe80::2%a", "fd00::1", False),
        ("fe80::2", "127.0.0.1", False),
        ("ff02::1", "fe80::1%a", False),
        ("2002:a00:1::1", "2a01::1", False),
        ("64:ff9b::a00:1", "fd00::1", False),
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
    assert subnet_of("fd00::1") is None
    assert subnet_of("fe80::1%a") is None
    assert subnet_of("2002:808:808::1") is None


def test_a_subnet_is_what_one_customer_has() -> None:
    assert subnet_of("2a01:1:2:3::1") == subnet_of("2a01:1:2:ffff::2")
    assert subnet_of("2a01:1:2::1") != subnet_of("2a01:1:3::1")
    assert subnet_of("64:ff9b::808:404") == subnet_of("8.8.4.9")


@pytest.mark.parametrize(
    ("host", "other", "is_same"),
    [
        ("8.8.8.8", "8.8.4.4", False),
        ("8.8.8.8", "::ffff:8.8.8.8", True),
        ("8.8.8.8", "64:ff9b::808:808", True),
        ("8.8.8.8", "2002:808:808:1::1", True),
        ("2600:1:2:3::1", "2600:1:2:3:ffff::2", True),
        ("2600:1:2:3::1", "2600:1:2:4::1", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("fd00::1", "fd00::2", False),
        ("fe80::1%a", "fe80::1%b", False),
        ("::1", "127.0.0.1", False),
    ],
)
def test_hosts_with_one_owner_count_together(
    host: str, other: str, is_same: bool
) -> None:
    assert (host_key(host) == host_key(other)) is is_same


@pytest.mark.parametrize(
    ("host", "source", "expected"),
    [
        ("8.8.8.8", "9.9.9.9", "8.8.8.8"),
        ("2A01:0::1", "9.9.9.9", "2a01::1"),
        ("::ffff:8.8.8.8", "9.9.9.9", "8.8.8.8"),
        ("::ffff:10.0.0.1", "9.9.9.9", None),
        ("fe80::2", "fe80::1%eth0", "fe80::2%eth0"),
        ("fe80::2%eth0", "fe80::1%eth0", None),
        ("fe80::2", "10.0.0.1", None),
        ("fd00::1%eth0", "fd00::2", None),
        ("a.example", "127.0.0.1", None),
        ("[::1]", "::1", None),
        ("1" * 100_000, "127.0.0.1", None),
    ],
)
def test_an_address_of_a_peer_is_read_in_the_place_where_the_peer_is(
    host: str, source: str, expected: str | None
) -> None:
    address = named_address(host, 4001, source)
    assert address == (None if expected is None else Address(expected, 4001))
    assert named_address(host, 80, source) is None
    assert named_address(host, 1 << 70, source) is None


@given(
    st.text(max_size=70) | st.ip_addresses().map(str),
    st.integers(),
    st.sampled_from(["8.8.8.8", "10.0.0.1", "127.0.0.1", "fe80::1%lo", "2a01::1", ""]),
)
def test_whatever_a_peer_names_is_a_canonical_address_or_ignored(
    host: str, port: int, source: str
) -> None:
    address = named_address(host, port, source)
    if address is not None:
        assert canonical_host(address.host) == address.host
        assert parse_address(str(address)) == address
        assert is_acceptable(address, source)


@given(st.ip_addresses())
def test_every_ip_address_has_a_scope_and_a_group(
    address: IPv4Address | IPv6Address,
) -> None:
    host = str(address)
    is_near = scope_of(host) in NEAR_SCOPES
    assert is_near <= address.is_private | address.is_link_local | (
        host.startswith("100.")
    )
    assert (slot_of(host) is None) >= is_near
    assert (subnet_of(host) is not None) == (scope_of(host) is Scope.GLOBAL)
