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
