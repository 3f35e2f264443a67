"""Each check of `shoal doctor`, with something that works and something that fails."""

import errno
import os
import resource
import socket
from contextlib import closing
from importlib.metadata import metadata
from pathlib import Path

import pytest

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.report.status import PortMapping
from shoal.doctor import Finding, State, examine, local, network
from shoal.doctor.local import check_disk, check_machine
from shoal.doctor.network import (
    check_dht,
    check_ipv6,
    check_listening,
    check_multicast,
    check_peers,
    check_relays,
    judge_mapping,
)
from shoal.net.interfaces import Interface
from tests.discovery.dht.nodes import UdpNode, start_dht
from tests.discovery.dht.simulation import DeadNode

HERE = Settings(interfaces=("lo",), lan_only=True, no_lan=True)


def _only(findings: list[Finding]) -> tuple[State, str]:
    (finding,) = findings
    assert finding.state is State.OK or finding.advice
    return finding.state, finding.found


def test_every_extra_is_reported_as_installed_or_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    (advice,) = (each.advice for each in check_machine() if each.name == "extras")
    assert advice is not None
    named = advice.partition("[")[2].partition("]")[0].split(",")
    declared = metadata("shoal").get_all("Provides-Extra") or []
    assert {*named} == {*declared} - {"all"}


async def test_every_check_runs_and_none_fails_here(tmp_path: Path) -> None:
    found = [each async for each in examine(HERE, tmp_path)]
    assert {each.name for each in found} >= {
        *(
            "listening",
            "ipv6",
            "router",
            "multicast",
            "dht",
            "disk",
            "reserving",
            "renaming",
            "locking",
        ),
        *("holes", "home", "clock", "open files", "encryption", "extras", "options"),
    }
    assert not [each for each in found if each.state is State.FAILED]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        (["10.0.0.1"], "No IPv6 address"),
        (["::1"], "on this machine only"),
        (["::1", "fe80::1%eth0"], "on the LAN only"),
        (
            ["::1", "fe80::1%eth0", "fd00::1"],
            ("Only private networks can reach fd00::1;"),
        ),
        (
            ["::1", "fe80::1%eth0", "2a01::1", "fd00::1"],
            ("Any peer with IPv6 can reach 2a01::1,"),
        ),
        (["2001:db8::1"], "No IPv6 address"),
    ],
)
async def test_how_far_ipv6_reaches_is_told(
    addresses: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [Interface("eth0", each, 64) for each in addresses]
    monkeypatch.setattr(network, "list_interfaces", lambda allowed: here)
    state, found = _only(await check_ipv6(Settings()))
    assert state is State.OK
    assert said in found


async def test_the_nodes_of_both_networks_are_counted() -> None:
    async with start_dht(2) as four, start_dht(3, "::1") as six:
        addresses = tuple(each.address for each in (*four, *six))
        settings = Settings(interfaces=("lo",), dht_bootstrap=addresses)
        assert _only(await check_dht(settings)) == (State.OK, "5 of 5 nodes answered.")


async def test_a_port_in_use_and_a_peer_that_refuses_are_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        settings = Settings(interfaces=("lo",), port=port)
        state, found = _only(await check_listening(settings))
        assert (state, f"Port {port} is in use" in found) == (State.FAILED, True)
        peers = Settings(peers=(Address("127.0.0.1", port), Address("127.0.0.1", 1)))
        accepts, refuses = await check_peers(peers)
        assert (accepts.state, refuses.state) == (State.OK, State.FAILED)
        assert "127.0.0.1:1 does not accept a connection" in refuses.found
    assert _only(await check_listening(settings))[0] is State.OK


@pytest.mark.parametrize(
    ("host", "state", "said"),
    [
        ("203.0.113.9", State.NOTE, "another router is between it and the internet"),
        ("100.64.0.9", State.NOTE, "another router is between it and the internet"),
        ("11.0.0.9", State.OK, "can dial 11.0.0.9:4001"),
    ],
)
def test_a_mapping_reaches_the_internet_or_another_router(
    host: str, state: State, said: str
) -> None:
    mapping = PortMapping(4001, Address(host, 4001), "UPnP")
    finding = judge_mapping([mapping], None)
    assert (finding.state, said in finding.found) == (state, True)


async def test_a_relay_that_refuses_is_named_with_the_reason_alone() -> None:
    (finding,) = await check_relays(Settings(relays=(Address("127.0.0.1", 1),)))
    assert finding.state is State.FAILED
    said = f"127.0.0.1:1 does not work as a relay: {os.strerror(errno.ECONNREFUSED)}."
    assert finding.found == said


async def test_a_missing_interface_is_named() -> None:
    settings = Settings(interfaces=("nosuch0",))
    for check in (check_listening, check_multicast):
        state, found = _only(await check(settings))
        assert (state, "nosuch0" in found) == (State.FAILED, True)


async def test_multicast_comes_back_on_loopback() -> None:
    found = await check_multicast(Settings(interfaces=("lo",)))
    assert "lo (127.0.0.1)" in found[0].found
    assert found[0].state is State.OK
    assert found[1].name == "port 5353"


async def test_the_dht_check_counts_the_nodes_that_answer() -> None:
    async with start_dht(2) as nodes, UdpNode(DeadNode, seed=9) as dead:
        addresses = tuple(node.address for node in nodes)
        settings = Settings(interfaces=("lo",), dht_bootstrap=addresses)
        state, found = _only(await check_dht(settings))
        assert (state, found) == (State.OK, "2 of 2 nodes answered.")
        settings = Settings(interfaces=("lo",), dht_bootstrap=(dead.address,))
        state, found = _only(await check_dht(settings, 0.2))
        assert (state, found) == (State.FAILED, "0 of 1 nodes answered.")


async def test_a_dht_that_cannot_be_reached_is_a_note_unless_the_user_named_it() -> (
    None
):
    settings = Settings(interfaces=("lo",))  # no name is resolved on loopback
    state, found = _only(await check_dht(settings))
    assert (state, "No address was found" in found) == (State.NOTE, True)
    named = (Address("nosuch.invalid", 6881),)
    settings = Settings(interfaces=("lo",), dht_bootstrap=named)
    state, found = _only(await check_dht(settings))
    assert (state, "No address was found" in found) == (State.FAILED, True)
    assert _only(await check_dht(HERE)) == (
        State.OK,
        "Not checked, because of --lan-only.",
    )


def test_a_folder_that_is_not_writable_is_named(tmp_path: Path) -> None:
    state, found = _only(list(check_disk(tmp_path / "missing")))
    assert state is State.FAILED
    assert str(tmp_path / "missing") in found


def test_a_feature_that_the_file_system_lacks_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(place: Path) -> str:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    trials = (*local.TRIALS, local.Trial("flying", refuse, "Walk."))
    monkeypatch.setattr(local, "TRIALS", trials)
    *_, last = local.check_disk(tmp_path)
    assert (last.name, last.state, last.advice) == ("flying", State.NOTE, "Walk.")
    assert "ENOSYS" in last.found
    assert list(tmp_path.iterdir()) == []


def test_a_low_limit_of_open_files_is_noted() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        found = {each.name: each for each in check_machine()}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found["open files"].state is State.NOTE
    assert "ulimit -n 1024" in str(found["open files"].advice)
