"""Check how addresses are read and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.address import Address, parse_address
from shoal.errors import UsageError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:4001", "127.0.0.1", 4001),
        ("a:1", "a", 1),
        ("host.example:65535", "host.example", 65535),
        ("my_host-2:080", "my_host-2", 80),
        ("a." + "b" * 63 + ":1", "a." + "b" * 63, 1),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize("text", ["127.0.0.1:4001", "host.example:1"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "host", "host:", ":80", "a b:80", "a\n:80", "[::1]:80", "::1:80"),
        *("-a:80", "a-:80", ".a:80", "http://a:80", "a/b:80", "é:80", "a@b:80"),
        *("a" * 254 + ":80", "a:-1", "a:x", "a:0", "a:65536", "a:1e3", "a: 1"),
        *("a:٣", "a:1\n", "a:" + "9" * 5000, "a..b:1", "a." + "b" * 64 + ":1"),
    ],
)
def test_any_other_text_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert len(str(caught.value)) < 250


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert 1 <= address.port <= 65535
    assert address.host == text.rpartition(":")[0]
