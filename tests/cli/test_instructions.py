"""The addresses of this machine that `share` tells its user to pass on."""

import pytest

from shoal.cli import instructions
from shoal.cli.instructions import dialable_addresses
from shoal.net.interfaces import Interface


@pytest.mark.parametrize(
    ("here", "expected"),
    [
        (["127.0.0.1", "10.0.0.7", "::1", "fd00::7"], ["10.0.0.7", "fd00::7"]),
        # The other machine has other zones.
        (["fe80::1%eth0", "2a01::7"], ["2a01::7"]),
        (["127.0.0.1", "::1", "fe80::1%eth0"], []),
    ],
)
def test_addresses_that_other_machines_can_dial_are_told(
    here: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [Interface("eth0", each, 24) for each in here]
    monkeypatch.setattr(instructions, "list_interfaces", lambda allowed: listed)
    assert dialable_addresses() == expected


def test_loopback_is_told_where_it_is_the_only_one_allowed() -> None:
    assert dialable_addresses(["127.0.0.1"]) == ["127.0.0.1"]
