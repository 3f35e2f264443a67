"""The commands on machines that have IPv6 addresses, most of them no others."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import link_of
from tests.helpers.lan import machines_on_a_lan
from tests.helpers.netns import Namespace, missing_namespaces
from tests.helpers.process import Program
from tests.helpers.programs import shoal
from tests.helpers.requirements import require

ROOT = Path(__file__).parent.parent.parent
PREFIX = "fd79::"
UNREACHED = 3  # exit code
ON_THE_LAN = {"SHOAL_LAN_ONLY": "1"}
PEERS_ONLY = {"SHOAL_LAN_ONLY": "1", "SHOAL_NO_LAN": "1"}

_FIREWALL = """
table ip6 filter {
  chain in {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    iif lo accept
  }
}
"""


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


@pytest.fixture(scope="module")
def shared(
    machines: list[Namespace], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """Share a file on the first machine; yield the file and the link."""
    source = tmp_path_factory.mktemp("shared") / "source"
    source.write_bytes(bytes(range(256)) * 4096)
    with sharing(machines[0], source, env=ON_THE_LAN) as program:
        yield source, link_of(program)


@pytest.mark.parametrize("zone", ["", "%v0"])
@pytest.mark.parametrize("is_hint", [False, True])
def test_a_peer_is_named_by_its_ipv6_address(
    machines: list[Namespace], shared: tuple[Path, str], is_hint: bool, zone: str
) -> None:
    source, link = shared
    host = link_local(machines[0]) + zone if zone else f"{PREFIX}1"
    if is_hint:
        words = [f"{link}?peer=[{host.replace('%', '%25')}]:4001"]
    else:
        words = [link, "--peer", f"[{host}]:4001"]
    fetches(machines[1], source, *words, "--force", env=PEERS_ONLY)


def test_machines_without_ipv4_find_each_other_on_the_lan(
    machines: list[Namespace], shared: tuple[Path, str]
) -> None:
    source, link = shared
    fetches(machines[1], source, link, "--force", env=ON_THE_LAN)


@pytest.mark.parametrize("restricted", [(0,), (1,), (0, 1)], ids=str)
def test_a_machine_that_may_use_one_ipv6_address_is_on_the_lan(
    machines: list[Namespace], make_file: MakeFile, restricted: tuple[int, ...]
) -> None:
    """That address is not its link-local one, and the other machine uses all."""
    source = make_file(1 << 20, 3)
    sharer, getter = (
        ON_THE_LAN | {"SHOAL_INTERFACES": f"{PREFIX}{number + 1}"}
        if number in restricted
        else ON_THE_LAN
        for number in range(2)
    )
    with sharing(machines[0], source, "--port", 4003, env=sharer) as program:
        fetches(machines[1], source, link_of(program), env=getter)


def test_an_open_channel_is_found_by_ipv6(
    machines: list[Namespace], make_file: MakeFile
) -> None:
    source = make_file(1 << 20, 2)
    words = ("--open", "six", "--port", 4002)
    with sharing(machines[0], source, *words, env=ON_THE_LAN):
        fetches(machines[1], source, "six", env=ON_THE_LAN)


def test_a_server_with_addresses_of_both_families_is_one(make_file: MakeFile) -> None:
    source = make_file(1 << 20, 3)
    with machines_on_a_lan(2, prefix=PREFIX) as both, ExitStack() as stack:
        slowly = ("--open", "x", "--limit-up", "1M")
        stack.enter_context(sharing(both[0], source, *slowly, env=ON_THE_LAN))
        words = ("get", "x", "-o", source.with_suffix(".copy"), "--json")
        getting = stack.enter_context(shoal(*words, ns=both[1], env=ON_THE_LAN))
        assert getting.finish().code == 0
        assert len(getting.find('"state":"joined"')) == 1


def test_a_peer_with_addresses_of_both_families_keeps_one_connection(
    make_file: MakeFile,
) -> None:
    source = make_file(1 << 20, 4)
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


def test_peers_tell_each_other_global_ipv6_addresses(make_file: MakeFile) -> None:
    """Such addresses are dialled from the port that a node listens on."""
    source = make_file(1 << 20, 5)
    prefix = "2a01:79::"  # of the internet, as far as these namespaces know
    with machines_on_a_lan(3, "", prefix) as machines, ExitStack() as stack:
        slowly = ("--limit-up", "1M", "--chunk-size", "64K")
        program = stack.enter_context(
            sharing(machines[0], source, *slowly, env=PEERS_ONLY)
        )
        named = (link_of(program), "--peer", f"[{prefix}1]:4001", "--json", "--seed")
        getting = []
        for number, machine in enumerate(machines[1:], 2):
            out = ("-o", source.with_suffix(f".{number}"), "--port", 4000 + number)
            started = shoal("get", *named, *out, ns=machine, env=PEERS_ONLY)
            getting.append(stack.enter_context(started))
        for each in getting:
            each.wait_line('"event":"complete"')
        told = rf'"address":"\[{prefix}(2\]:4002|3\]:4003)"'
        assert all(each.find(told) for each in getting)
        dialled = rf'{told}.*"source":"swarm"'
        assert any(each.find(dialled) for each in getting)


@pytest.mark.long
def test_a_download_continues_when_its_ipv6_address_changes(
    make_file: MakeFile,
) -> None:
    source = make_file(8 << 20, 6)
    with machines_on_a_lan(2, "", PREFIX) as both, ExitStack() as stack:
        slowly = ("--limit-up", "1M", "--chunk-size", "64K")
        program = stack.enter_context(sharing(both[0], source, *slowly, env=PEERS_ONLY))
        named = (link_of(program), "--peer", f"[{PREFIX}1]:4001", "--json")
        out = source.with_suffix(".copy")
        words = ("get", *named, "-o", out)
        getting = stack.enter_context(shoal(*words, ns=both[1], env=PEERS_ONLY))
        getting.wait_line('"event":"progress"')
        both[1].run("ip", "addr", "del", f"{PREFIX}2/64", "dev", "v0")
        both[1].run("ip", "addr", "add", f"{PREFIX}9/64", "dev", "v0", "nodad")
        getting.wait_line(r'"state":"left","reason":"[^"]*no address of this machine')
        assert getting.finish(30).code == 0
        assert out.read_bytes() == source.read_bytes()


def close_firewall(machine: Namespace, rules: Path) -> None:
    """Let only answers in, as routers do by default for IPv6 (RFC 6092)."""
    rules.write_text(_FIREWALL)
    machine.run("nft", "-f", str(rules))


def test_two_machines_behind_ipv6_firewalls_reach_each_other(
    make_file: MakeFile, tmp_path: Path
) -> None:
    require(None if shutil.which("nft") else "nft is not installed")
    source = make_file(1 << 20, 7)
    prefix = "2a01:79::"
    with machines_on_a_lan(2, "", prefix) as both, ExitStack() as stack:
        for machine in both:
            close_firewall(machine, tmp_path / "rules")
        named = ("--peer", f"[{prefix}2]:4002")
        program = stack.enter_context(sharing(both[0], source, *named, env=PEERS_ONLY))
        words = (link_of(program), "--peer", f"[{prefix}1]:4001", "--port", 4002)
        fetches(both[1], source, *words, env=PEERS_ONLY)


@pytest.mark.long
def test_machines_behind_ipv6_firewalls_find_each_other_in_the_dht(
    make_file: MakeFile, tmp_path: Path
) -> None:
    """The nodes of the DHT are the only other machines."""
    require(None if shutil.which("nft") else "nft is not installed")
    require(None if find_spec("libtorrent") else "libtorrent is not installed")
    source = make_file(1 << 20, 8)
    prefix = "2a01:79::"
    with machines_on_a_lan(10, "", prefix) as machines, ExitStack() as stack:
        nodes = [f"{m.pid}/{prefix}{n}" for n, m in enumerate(machines[2:], 3)]
        argv = [sys.executable, "-m", "tests.interop.dht_nodes", *nodes]
        dht = stack.enter_context(Program(argv, cwd=ROOT))
        bootstrap = dht.wait_line(r"^ready (\S+)$", 60)[1]
        for machine in machines[:2]:
            close_firewall(machine, tmp_path / "rules")
        env = {"SHOAL_NO_LAN": "1", "SHOAL_NO_MAP": "1"}
        env["SHOAL_DHT_BOOTSTRAP"] = bootstrap
        program = stack.enter_context(sharing(machines[0], source, env=env))
        fetches(machines[1], source, link_of(program), env=env)


def test_interfaces_may_be_named_by_ipv6_address(
    machines: list[Namespace], make_file: MakeFile
) -> None:
    source = make_file(1 << 20, 1)
    env = {**PEERS_ONLY, "SHOAL_INTERFACES": f"{PREFIX}1"}
    with sharing(machines[0], source, "--port", 4003, env=env) as program:
        link = link_of(program)
        words = ("--timeout", 0.5, "--peer", f"[{link_local(machines[0])}%v0]:4003")
        with shoal("get", link, *words, ns=machines[1], env=PEERS_ONLY) as getting:
            assert getting.finish().code == UNREACHED
        peer = f"[{PREFIX}1]:4003"
        fetches(machines[1], source, link, "--peer", peer, env=PEERS_ONLY)
