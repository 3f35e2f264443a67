"""The endpoint that the gateway listens on decides which hosts it accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.http_endpoint import parse_endpoint
from shoal.errors import UsageError
from shoal.gateway.endpoint import format_host
from shoal.gateway.hosts import allowed_hosts


def is_allowed(host: str, endpoint: str = ":0", port: int = 8080) -> bool:
    """Return True if a gateway at this endpoint accepts a `Host` header."""
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
def test_an_endpoint_is_parsed(text: str, host: str, port: int) -> None:
    endpoint = parse_endpoint(text)
    assert (endpoint.host, endpoint.port) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", "a:", "a:b", "a:65536", "a:-1", "::1:80", "[::1]", "[x]:1"),
        *("http://a:1", "a b:1", "-a:1", "[127.0.0.1]:1", "a/b:1", "a:1:2", "[fe80::1"),
    ],
)
def test_an_invalid_endpoint_raises_a_usage_error(text: str) -> None:
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
def test_only_loopback_endpoints_are_unreachable_for_others(
    endpoint: str, is_loopback: bool
) -> None:
    assert parse_endpoint(endpoint).is_loopback == is_loopback


def test_a_host_needs_the_port_unless_it_is_80() -> None:
    assert is_allowed("localhost:8080")
    assert not is_allowed("localhost")
    for name in ("localhost", "localhost:80", "127.0.0.1", "[::1]:80"):
        assert is_allowed(name, port=80)


def test_the_endpoints_host_is_allowed_in_addition_to_loopback() -> None:
    for host in ("gate.example:8080", "GATE.example:8080", "localhost:8080"):
        assert is_allowed(host, "Gate.Example:8080")
    assert not is_allowed("gate.example:8080")
    assert is_allowed("[2001:db8::1]:8080", "[2001:db8:0::1]:8080")


@pytest.mark.parametrize("endpoint", ["0.0.0.0:8080", "[::]:8080"])
def test_a_wildcard_endpoint_accepts_any_ip_address(
    endpoint: str,
) -> None:
    for host in ("192.0.2.7:8080", "[2001:db8::1]:8080", "localhost:8080"):
        assert is_allowed(host, endpoint)
    for host in ("192.0.2.7", "192.0.2.7:80", "192.0.2:8080", "2001:db8::1:8080"):
        assert not is_allowed(host, endpoint)
    assert is_allowed("192.0.2.7", endpoint, 80)


@given(st.from_regex(r"[a-z0-9.:\[\]-]{1,20}", fullmatch=True))
def test_every_other_host_name_is_rejected(host: str) -> None:
    ours = {"localhost:8080", "127.0.0.1:8080", "[::1]:8080"}
    assert is_allowed(host) == (host in ours)
    if any(c in host for c in "ghijklmnopqrstuvwxyz") and host not in ours:
        assert not is_allowed(host, "0.0.0.0:8080")


def test_a_request_needs_exactly_one_host_header() -> None:
    hosts = allowed_hosts(parse_endpoint(":0"), 8080)
    assert not hosts.allows([])
    assert not hosts.allows(["localhost:8080", "localhost:8080"])


def test_a_host_is_formatted_for_a_url() -> None:
    assert format_host("::1", 8080) == "[::1]:8080"
    assert format_host("localhost", 80) == "localhost"


@pytest.mark.parametrize(
    ("endpoint", "last"),
    [
        (":0", "or [::1]:8080"),
        ("0.0.0.0:0", "or any IP address with port 8080"),
        ("secret.example:0", "or the HOST of --http HOST:PORT"),
    ],
)
def test_the_allowed_names_are_described_without_the_users_own(
    endpoint: str, last: str
) -> None:
    text = allowed_hosts(parse_endpoint(endpoint), 8080).described
    assert text.startswith("localhost:8080, 127.0.0.1:8080")
    assert text.endswith(last)
    assert "secret" not in text
