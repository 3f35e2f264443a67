"""This machine's interfaces, and the list that restricts them."""

import json
import subprocess
import sys

import pytest

from shoal.errors import UsageError
from shoal.net import interfaces
from shoal.net.interfaces import (
    Interface,
    list_interfaces,
    own_addresses,
    parse_interfaces,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", ()), ("lo", ("lo",)), (" lo, eth0 ,,10.0.0.7", ("lo", "eth0", "10.0.0.7"))],
)
def test_a_list_of_interfaces_is_split_at_commas(
    text: str, words: tuple[str, ...]
) -> None:
    assert parse_interfaces(text) == words


@pytest.mark.parametrize(
    ("prefix", "address", "expected"),
    [
        (24, "10.0.0.9", True),
        (24, "10.0.1.9", False),
        (8, "10.255.1.9", True),
        (0, "192.0.2.1", True),
        (31, "10.0.0.6", True),
        (32, "10.0.0.7", True),
        (32, "10.0.0.6", False),
        (24, "somewhere.example", False),
        (24, "10.9", False),
        (24, "", False),
    ],
)
def test_an_address_is_matched_with_the_subnet(
    prefix: int, address: str, expected: bool
) -> None:
    assert Interface("x", "10.0.0.7", prefix).is_on_subnet(address) is expected


@pytest.mark.parametrize("word", ["lo", "127.0.0.1"])
def test_an_interface_is_found_by_name_and_by_address(word: str) -> None:
    assert Interface("lo", "127.0.0.1", 8) in list_interfaces([word])
    assert {each.name for each in list_interfaces([word])} == {"lo"}


@pytest.mark.parametrize(
    ("ours", "prefix", "address", "expected"),
    [
        ("fd00::7", 64, "fd00::9", True),
        ("fd00::7", 64, "fd00:0:0:1::9", False),
        ("fd00::7", 128, "fd00::7", True),
        ("fd00::7", 0, "2a01::1", True),
        ("fe80::1%eth0", 64, "fe80::2%eth0", True),
        ("fe80::1%eth0", 64, "fe80::2%eth1", False),
        ("fe80::1%eth0", 64, "fe80::2", False),
        ("fd00::7", 0, "10.0.0.7", False),
        ("10.0.0.7", 0, "fd00::7", False),
        ("fd00::7", 0, "somewhere.example", False),
        ("fd00::7", 0, "\0", False),
    ],
)
def test_an_ipv6_address_is_matched_with_the_subnet(
    ours: str, prefix: int, address: str, expected: bool
) -> None:
    assert Interface("eth0", ours, prefix).is_on_subnet(address) is expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["eth0"], {"10.0.0.7", "fd00::7", "fe80::1%eth0"}),
        (["fd00:0::7"], {"fd00::7"}),
        (["[FD00::7]"], {"fd00::7"}),
        (["fe80::1"], {"fe80::1%eth0", "fe80::1%eth1"}),
        (["fe80::1%eth1", "10.0.0.7"], {"fe80::1%eth1", "10.0.0.7"}),
    ],
)
def test_an_ipv6_address_is_found_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, words: list[str], expected: set[str]
) -> None:
    here = [
        Interface("eth0", "10.0.0.7", 24),
        Interface("eth0", "fd00::7", 64),
        Interface("eth0", "fe80::1%eth0", 64),
        Interface("eth1", "fe80::1%eth1", 64),
    ]
    monkeypatch.setattr(interfaces, "_list_all", lambda: here)
    assert {each.address for each in list_interfaces(words)} == expected
    with pytest.raises(UsageError, match="fd00::8"):
        list_interfaces(["fd00::8"])


def test_the_addresses_are_those_that_ip_lists() -> None:
    listed = json.loads(
        subprocess.run(
            ["ip", "-json", "addr"], check=True, capture_output=True, timeout=30
        ).stdout
    )
    expected = {
        (link["ifname"], each["local"].partition("/")[0], each["prefixlen"])
        for link in listed
        for each in link["addr_info"]
        if not each.get("tentative") and not each.get("dadfailed")
    }
    found = {(i.name, i.address.partition("%")[0], i.prefix) for i in list_interfaces()}
    assert found == expected
    assert all(
        i.address.endswith(f"%{i.name}")
        for i in list_interfaces()
        if i.address.startswith("fe80:")
    )


def test_without_a_list_every_interface_is_returned() -> None:
    assert set(list_interfaces(["lo"])) <= set(list_interfaces())


def test_this_machine_has_addresses() -> None:
    assert "127.0.0.1" in own_addresses()


def test_a_missing_interface_is_a_usage_error_that_names_the_others() -> None:
    with pytest.raises(UsageError, match=r"'nosuch0'.*\blo\b"):
        list_interfaces(["lo", "nosuch0"])


def test_importing_the_module_loads_nothing_slow() -> None:
    code = "import shoal.net.interfaces, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, timeout=30
    ).stdout.split()
    assert not {b"ifaddr", b"ctypes", b"ipaddress"} & set(loaded)
