"""Check how addresses are read and written."""

from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, inet_ntop

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.address import Address, parse_address
from shoal.core.names.address_scope import canonical_host
from shoal.errors import UsageError
from shoal.net.socket_names import host_of


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:4001", "127.0.0.1", 4001),
        ("a:1", "a", 1),
        ("host.example:65535", "host.example", 65535),
        ("my_host-2:080", "my_host-2", 80),
        ("a." + "b" * 63 + ":1", "a." + "b" * 63, 1),
        ("[::1]:80", "::1", 80),
        ("[FD00:0:0::0001]:4001", "fd00::1", 4001),
        ("[fe80::1%eth0.100]:4001", "fe80::1%eth0.100", 4001),
        ("[fe80::1%2]:4001", "fe80::1%2", 4001),
        ("[::ffff:10.0.0.1]:4001", "10.0.0.1", 4001),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text", ["127.0.0.1:4001", "host.example:1", "[fd00::1]:4001", "[fe80::1%lo]:1"]
)
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "host", "host:", ":80", "a b:80", "a\n:80", "::1:80", "::1"),
        *("[::1]", "[::1]:", "[::1:80", "::1]:80", "[1.2.3.4]:80", "[]:80", "[a]:80"),
        *("[fe80::1]:80", "[fe80::1%]:80", "[fe80::1%a b]:80", "[fd00::1%lo]:80"),
        *("[::ffff:1.2.3.4%lo]:80", "[1::2::3]:80", "[" + "0" * 5000 + "::1]:80"),
        *("[fe80::1%" + "x" * 16 + "]:80", "[[::1]]:80", "[::1]80", "[é::1]:80"),
        *("-a:80", "a-:80", ".a:80", "http://a:80", "a/b:80", "é:80", "a@b:80"),
        *("a" * 254 + ":80", "a:-1", "a:x", "a:0", "a:65536", "a:1e3", "a: 1"),
        *("a:٣", "a:1\n", "a:" + "9" * 5000, "a..b:1", "a." + "b" * 64 + ":1"),
    ],
)
def test_any_other_text_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert len(str(caught.value)) < 250


@given(st.text(max_size=30) | st.text("[]:%0f.l", max_size=30))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert 1 <= address.port <= 65535
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2001:DB8::0:1", "2001:db8::1"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("::FFFF:0808:0808", "8.8.8.8"),
        ("8.8.8.8", "8.8.8.8"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        *((text, None) for text in ("8.8", "a.example", "", "::1%lo", "fe80::1%a/b")),
        *((text, None) for text in ("[::1]", "1.2.3.4%lo", " ::1", "0" * 100 + "::1")),
    ],
)
def test_equal_hosts_are_written_alike(text: str, written: str | None) -> None:
    assert canonical_host(text) == written


@given(st.ip_addresses())
def test_a_canonical_host_is_written_as_the_system_does(
    address: IPv4Address | IPv6Address,
) -> None:
    family = AF_INET if address.version == 4 else AF_INET6
    host = canonical_host(str(address))
    assert host is not None
    name = inet_ntop(family, address.packed)
    assert host == host_of((name, 1))


@pytest.mark.parametrize("text", ["::1:80", "fd00::1", "[fe80::1]:80", "[1.2.3.4]:80"])
def test_an_error_shows_how_an_ipv6_address_is_written(text: str) -> None:
    with pytest.raises(UsageError, match=r"like \[f\S+\]:4001"):
        parse_address(text)
