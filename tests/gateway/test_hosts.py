"""By which names the gateway may be asked, given where it listens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import UsageError
from shoal.gateway.hosts import allowed_hosts, format_host, parse_endpoint


def is_allowed(host: str, endpoint: str = ":0", port: int = 8080) -> bool:
    """Say whether a gateway may be asked by a name."""
    return allowed_hosts(parse_endpoint(endpoint), port).allows([host])


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        (":80", "", 80),
        ("[::1]:80", "::1", 80),
        ("[0:0::1]:80", "::1", 80),
        ("gate.example:65535", "gate.example", 65535),
    ],
)
def test_an_endpoint_is_read(text: str, host: str, port: int) -> None:
    endpoint = parse_endpoint(text)
    assert (endpoint.host, endpoint.port) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", "a:", "a:b", "a:65536", "a:-1", "::1:80", "[::1]", "[x]:1"),
        *("http://a:1", "a b:1", "-a:1", "[127.0.0.1]:1", "a/b:1", "a:1:2", "[fe80::1"),
    ],
)
def test_what_is_no_endpoint_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("endpoint", "is_loopback"),
    [
        *(
            (":0", True),
            ("localhost:0", True),
            ("127.0.0.9:0", True),
            ("[::1]:0", True),
        ),
        *(("0.0.0.0:0", False), ("[::]:0", False), ("192.0.2.1:0", False)),
        ("gate.example:0", False),
    ],
)
def test_what_others_can_reach_is_known(endpoint: str, is_loopback: bool) -> None:
    assert parse_endpoint(endpoint).is_loopback == is_loopback


def test_the_port_belongs_to_the_name_unless_it_is_the_usual_one() -> None:
    assert is_allowed("localhost:8080")
    assert not is_allowed("localhost")
    for name in ("localhost", "localhost:80", "127.0.0.1", "[::1]:80"):
        assert is_allowed(name, port=80)


def test_the_host_that_was_named_is_allowed_beside_loopback() -> None:
    for host in ("gate.example:8080", "GATE.example:8080", "localhost:8080"):
        assert is_allowed(host, "Gate.Example:8080")
    assert not is_allowed("gate.example:8080")
    assert is_allowed("[2001:db8::1]:8080", "[2001:db8:0::1]:8080")


@pytest.mark.parametrize("endpoint", ["0.0.0.0:8080", "[::]:8080"])
def test_where_every_address_is_listened_on_an_address_is_allowed(
    endpoint: str,
) -> None:
    for host in ("192.0.2.7:8080", "[2001:db8::1]:8080", "localhost:8080"):
        assert is_allowed(host, endpoint)
    for host in ("192.0.2.7", "192.0.2.7:80", "192.0.2:8080", "2001:db8::1:8080"):
        assert not is_allowed(host, endpoint)
    assert is_allowed("192.0.2.7", endpoint, 80)


@given(st.from_regex(r"[a-z0-9.:\[\]-]{1,20}", fullmatch=True))
def test_no_other_name_is_ever_allowed(host: str) -> None:
    ours = {"localhost:8080", "127.0.0.1:8080", "[::1]:8080"}
    assert is_allowed(host) == (host in ours)
    if any(c in host for c in "ghijklmnopqrstuvwxyz") and host not in ours:
        assert not is_allowed(host, "0.0.0.0:8080")


def test_there_is_exactly_one_host() -> None:
    hosts = allowed_hosts(parse_endpoint(":0"), 8080)
    assert not hosts.allows([])
    assert not hosts.allows(["localhost:8080", "localhost:8080"])


def test_a_host_stands_in_a_url_as_it_must() -> None:
    assert format_host("::1", 8080) == "[::1]:8080"
    assert format_host("localhost", 80) == "localhost"
