"""What doctor says of the NAT; `tests/reach` runs it behind real ones."""

import pytest

from shoal.config.settings import Settings
from shoal.core.outside import NatKind
from shoal.doctor.finding import State
from shoal.doctor.nat import check_nat, judge_nat
from tests.discovery.dht.nodes import start_dht


@pytest.mark.parametrize("kind", NatKind)
def test_every_kind_is_told_with_what_to_do(kind: NatKind) -> None:
    finding = judge_nat(kind, "8.8.1.1")
    is_fine = kind in (NatKind.NONE, NatKind.PRESERVING)
    assert finding.state is (State.OK if is_fine else State.NOTE)
    assert finding.advice
    assert ("8.8.1.1" in finding.found) is (kind is not NatKind.UNKNOWN)


async def test_nodes_that_tell_nothing_leave_the_kind_unknown() -> None:
    async with start_dht(2) as nodes:
        addresses = tuple(node.address for node in nodes)
        settings = Settings(interfaces=("lo",), dht_bootstrap=addresses)
        (finding,) = await check_nat(settings, 0.2)
        assert finding.found.startswith("How this machine looks")
        assert nodes[0].senders_of(b"get_peers")
        assert not nodes[0].senders_of(b"announce_peer")


async def test_with_lan_only_nothing_is_sent() -> None:
    (finding,) = await check_nat(Settings(lan_only=True))
    assert (finding.state, finding.found) == (
        State.OK,
        "Not checked, because of --lan-only.",
    )


@pytest.mark.parametrize("is_installed", [True, False])
def test_behind_a_nat_that_changes_ports_quic_helps(
    monkeypatch: pytest.MonkeyPatch, *, is_installed: bool
) -> None:
    found = object() if is_installed else None
    monkeypatch.setattr("shoal.doctor.nat.find_spec", lambda name: found)
    advice = judge_nat(NatKind.CHANGING, "8.8.1.1").advice or ""
    assert "pip install 'shoal[quic]'" in advice
    assert ("--relay" in advice) is not is_installed
