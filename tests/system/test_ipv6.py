"""The commands on machines that have IPv6 addresses, most of them no others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import link_of
from tests.helpers.lan import machines_on_a_lan
from tests.helpers.netns import Namespace, missing_namespaces
from tests.helpers.process import Program
from tests.helpers.programs import shoal
from tests.helpers.requirements import require

PREFIX = "fd79::"
UNREACHED = 3  # exit code
ON_THE_LAN = {"SHOAL_LAN_ONLY": "1"}
PEERS_ONLY = {"SHOAL_LAN_ONLY": "1", "SHOAL_NO_LAN": "1"}


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Namespace]]:
    """Yield two machines that have no IPv4 addresses."""
    require(missing_namespaces())
    with machines_on_a_lan(2, subnet="", prefix=PREFIX) as both:
        yield both


@contextmanager
def sharing(
    machine: Namespace, path: Path, *args: object, env: dict[str, str]
) -> Iterator[Program]:
    with ExitStack() as stack:
        program = shoal("share", path, "--port", 4001, *args, ns=machine, env=env)
        stack.enter_context(program)
        program.wait_line("Ctrl-C", stream="err")
        yield program


def fetches(
    machine: Namespace, source: Path, *args: object, env: dict[str, str]
) -> None:
    """Check that a machine fetches what `source` is."""
    out = source.with_suffix(".copy")
    with shoal("get", *args, "-o", out, "--json", ns=machine, env=env) as getting:
        done = getting.finish()
    assert done.code == 0, done.stderr
    assert out.read_bytes() == source.read_bytes()


def link_local(machine: Namespace) -> str:
    """Return the link-local address of a machine."""
    words = ("ip", "-6", "-br", "addr", "show", "dev", "v0", "scope", "link")
    return machine.run(*words).split()[2].partition("/")[0]


def test_a_peer_is_named_by_its_ipv6_address(
    machines: list[Namespace], make_file: MakeFile
) -> None:
    source = make_file(3 << 20, 1)
    with sharing(machines[0], source, env=PEERS_ONLY) as program:
        peer = f"[{PREFIX}1]:4001"
        fetches(machines[1], source, link_of(program), "--peer", peer, env=PEERS_ONLY)


def test_a_peer_is_named_by_its_link_local_address_and_zone(
    machines: list[Namespace], make_file: MakeFile
) -> None:
    source = make_file(3 << 20, 1)
    with sharing(machines[0], source, env=PEERS_ONLY) as program:
        peer = f"[{link_local(machines[0])}%v0]:4001"
        fetches(machines[1], source, link_of(program), "--peer", peer, env=PEERS_ONLY)


def test_the_hint_in_a_link_may_be_an_ipv6_address(
    machines: list[Namespace], make_file: MakeFile
) -> None:
    source = make_file(1 << 20, 1)
    with sharing(machines[0], source, env=PEERS_ONLY) as program:
        for host in (f"{PREFIX}1", f"{link_local(machines[0])}%25v0"):
            link = f"{link_of(program)}?peer=[{host}]:4001"
            fetches(machines[1], source, link, "--force", env=PEERS_ONLY)


def test_machines_without_ipv4_find_each_other_on_the_lan(
    machines: list[Namespace], make_file: MakeFile
) -> None:
    source = make_file(3 << 20, 1)
    with sharing(machines[0], source, env=ON_THE_LAN) as program:
        fetches(machines[1], source, link_of(program), env=ON_THE_LAN)


def test_an_open_channel_is_found_by_ipv6(
    machines: list[Namespace], make_file: MakeFile
) -> None:
    source = make_file(1 << 20, 2)
    with sharing(machines[0], source, "--open", "six", env=ON_THE_LAN):
        fetches(machines[1], source, "six", env=ON_THE_LAN)


def test_a_server_with_addresses_of_both_families_is_one(make_file: MakeFile) -> None:
    source = make_file(1 << 20, 3)
    with machines_on_a_lan(2, prefix=PREFIX) as both, ExitStack() as stack:
        stack.enter_context(sharing(both[0], source, "--open", "x", env=ON_THE_LAN))
        words = ("get", "x", "-o", source.with_suffix(".copy"), "--json")
        getting = stack.enter_context(shoal(*words, ns=both[1], env=ON_THE_LAN))
        assert getting.finish().code == 0
        assert len(getting.find('"state":"joined"')) == 1


def test_a_peer_with_addresses_of_both_families_keeps_one_connection(
    make_file: MakeFile,
) -> None:
    source = make_file(4 << 20, 4)
    with machines_on_a_lan(2, prefix=PREFIX) as both, ExitStack() as stack:
        words = ("--limit-up", "1M", "--chunk-size", "64K")
        program = stack.enter_context(sharing(both[0], source, *words, env=ON_THE_LAN))
        out = source.with_suffix(".copy")
        get = ("get", link_of(program), "-o", out, "--json", "--seed")
        getting = stack.enter_context(shoal(*get, ns=both[1], env=ON_THE_LAN))
        getting.wait_line('"event":"complete"')
        if others := len(getting.find('"state":"joined"')) - 1:
            getting.wait_line('"state":"left"', count=others)
        assert len(getting.find('"state":"left"')) == others


def test_interfaces_may_be_named_by_ipv6_address(
    machines: list[Namespace], make_file: MakeFile
) -> None:
    source = make_file(1 << 20, 1)
    env = {**PEERS_ONLY, "SHOAL_INTERFACES": f"{PREFIX}1"}
    with sharing(machines[0], source, env=env) as program:
        link = link_of(program)
        words = ("--timeout", 0.5, "--peer", f"[{link_local(machines[0])}%v0]:4001")
        with shoal("get", link, *words, ns=machines[1], env=PEERS_ONLY) as getting:
            assert getting.finish().code == UNREACHED
        peer = f"[{PREFIX}1]:4001"
        fetches(machines[1], source, link, "--peer", peer, env=PEERS_ONLY)
