"""What `shoal doctor` finds out, each with something that works and does not."""

import errno
import os
import resource
import socket
from contextlib import closing
from pathlib import Path

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.doctor import Finding, State, examine
from shoal.doctor.disk import ATTEMPTS, Attempt, look_at_disk
from shoal.doctor.machine import look_at_machine
from shoal.doctor.network import (
    look_at_dht,
    look_at_listening,
    look_at_multicast,
    look_at_peers,
)
from tests.discovery.dht.nodes import UdpNode, start_dht
from tests.discovery.dht.simulation import DeadNode

HERE = Settings(interfaces=("lo",), lan_only=True, no_lan=True)


def _only(findings: list[Finding]) -> tuple[State, str]:
    (finding,) = findings
    assert finding.state is State.OK or finding.advice
    return finding.state, finding.found


async def test_all_is_well_here_and_everything_was_looked_at(tmp_path: Path) -> None:
    found = [each async for each in examine(HERE, tmp_path)]
    assert {each.name for each in found} >= {
        *("listening", "multicast", "dht", "disk", "reserving", "renaming", "locking"),
        *("holes", "home", "clock", "open files", "encryption", "extras", "options"),
    }
    assert not [each for each in found if each.state is State.FAILED]
    assert os.listdir(tmp_path) == []


async def test_a_port_that_is_taken_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        settings = Settings(interfaces=("lo",), port=port)
        state, said = _only(await look_at_listening(settings))
        assert (state, f"Port {port} is in use" in said) == (State.FAILED, True)
        peers = Settings(peers=(Address("127.0.0.1", port), Address("127.0.0.1", 1)))
        accepts, refuses = await look_at_peers(peers)
        assert (accepts.state, refuses.state) == (State.OK, State.FAILED)
        assert "127.0.0.1:1 does not accept a connection" in refuses.found
    assert _only(await look_at_listening(settings))[0] is State.OK


async def test_an_interface_that_is_not_there_is_named() -> None:
    settings = Settings(interfaces=("nosuch0",))
    for look in (look_at_listening, look_at_multicast):
        state, said = _only(await look(settings))
        assert (state, "nosuch0" in said) == (State.FAILED, True)


async def test_multicast_comes_back_on_loopback() -> None:
    found = await look_at_multicast(Settings(interfaces=("lo",)))
    assert "lo (127.0.0.1)" in found[0].found
    assert found[0].state is State.OK
    assert found[1].name == "port 5353"


async def test_nodes_of_the_dht_that_answer_are_counted() -> None:
    async with start_dht(2) as nodes, UdpNode(DeadNode, seed=9) as dead:
        addresses = tuple(node.address for node in nodes)
        settings = Settings(interfaces=("lo",), dht_bootstrap=addresses)
        state, said = _only(await look_at_dht(settings))
        assert (state, said) == (State.OK, "2 of 2 nodes answered.")
        settings = Settings(interfaces=("lo",), dht_bootstrap=(dead.address,))
        state, said = _only(await look_at_dht(settings, 0.2))
        assert (state, said) == (State.FAILED, "0 of 1 nodes answered.")


async def test_a_dht_without_addresses_is_told_and_none_is_not_missed() -> None:
    settings = Settings(interfaces=("lo",))  # whose names loopback has no use for
    state, said = _only(await look_at_dht(settings))
    assert (state, "No address was found" in said) == (State.FAILED, True)
    assert _only(await look_at_dht(HERE)) == (State.OK, "Not tried: --lan-only.")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    state, said = _only(list(look_at_disk(tmp_path / "missing")))
    assert state is State.FAILED
    assert str(tmp_path / "missing") in said


def test_what_a_file_system_cannot_do_is_worth_a_word(tmp_path: Path) -> None:
    def refuse(place: Path) -> str:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    attempts = (*ATTEMPTS, Attempt("flying", refuse, "Walk."))
    *_, last = look_at_disk(tmp_path, attempts)
    assert (last.name, last.state, last.advice) == ("flying", State.NOTE, "Walk.")
    assert "ENOSYS" in last.found
    assert list(tmp_path.iterdir()) == []


def test_a_low_limit_of_files_is_worth_a_word() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        found = {each.name: each for each in look_at_machine()}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found["open files"].state is State.NOTE
    assert "ulimit -n 1024" in str(found["open files"].advice)
