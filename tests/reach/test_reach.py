"""Machines behind NATs find each other and connect, with a DHT of libtorrent or a peer.

`python -m tests.reach` measures every pair.
"""

import importlib.util
import random
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.capture import destinations, ipv6_destinations, recorded
from tests.helpers.commands import link_of
from tests.helpers.nats import Home, Internet, Nat, missing_nats
from tests.helpers.programs import Program, shoal
from tests.helpers.requirements import require
from tests.helpers.router import missing_router
from tests.helpers.transit_relay import transit_relay
from tests.reach import crowd, idle, speed
from tests.reach.matrix import (
    NO_DISCOVERY,
    PORT,
    Pair,
    by_common_peer,
    by_dht,
    by_relay,
)

pytestmark = pytest.mark.interop

CODE = r"[0-9]{4}(-[a-z]+){3}"
PRESERVING = Pair(Nat.PRESERVING, Nat.PRESERVING)


@pytest.fixture(autouse=True, scope="module")
def _nats() -> None:
    require(missing_nats())


def require_libtorrent() -> None:
    if importlib.util.find_spec("libtorrent") is None:
        require("libtorrent is not installed (it has no wheel for Python 3.14)")


@pytest.mark.parametrize(
    "pair", [PRESERVING, Pair(Nat.CHANGING, Nat.FIREWALL)], ids=["same", "other"]
)
def test_a_common_peer_brings_two_together_that_let_no_one_in(
    pair: Pair, tmp_path: Path
) -> None:
    ((_, reached),) = by_common_peer([pair], tmp_path)
    assert reached is not None
    assert reached.path == "punched"


def test_two_that_cannot_meet_exchange_chunks_through_a_third(tmp_path: Path) -> None:
    """It downloads as well, and both can dial it."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.write_bytes(random.Random(7).randbytes(1 << 20))
    with Internet() as internet:
        sharer, getter = (internet.add_home(Nat.SYMMETRIC) for _ in range(2))
        public = internet.add_home(Nat.PUBLIC)
        peer = ("--peer", f"{public.address}:{PORT}")
        with ExitStack() as stack:

            def start(home: Home, *words: object) -> Program:
                program = shoal(*words, ns=home.namespace, env=NO_DISCOVERY)
                return stack.enter_context(program)

            link = link_of(start(sharer, "share", source, *peer))
            third = ("get", link, "-o", tmp_path / "third", "--seed", "--port", PORT)
            start(public, *third)
            getting = start(getter, "get", link, "-o", out, "--timeout", 20, *peer)
            assert getting.finish(40).code == 0
            assert out.read_bytes() == source.read_bytes()


@pytest.fixture(scope="module")
def net() -> Iterator[tuple[Internet, str]]:
    """Yield an internet, and a node of its DHT."""
    require_libtorrent()
    with Internet() as made:
        yield made, made.start_dht()


@pytest.mark.long
def test_doctor_names_the_kind_of_nat(net: tuple[Internet, str]) -> None:
    internet, bootstrap = net
    expected = {
        Nat.PUBLIC: "No NAT: this machine has the address {}",
        Nat.FIREWALL: "No NAT: this machine has the address {}",
        Nat.NESTED: "Behind a NAT that keeps ports; seen from the internet as {}",
        Nat.SYMMETRIC: "a new port for each connection; seen from the internet as {}",
    }
    with ExitStack() as stack:
        words = ("doctor", "--no-lan", "--dht-bootstrap", bootstrap)
        homes = [internet.add_home(nat) for nat in expected]
        programs = [
            stack.enter_context(shoal(*words, ns=home.namespace)) for home in homes
        ]
        for said, home, program in zip(expected.values(), homes, programs, strict=True):
            assert said.format(home.address) in program.finish(30).stdout.decode()


@pytest.mark.long
def test_two_behind_nats_meet_by_the_dht_alone(
    net: tuple[Internet, str], tmp_path: Path
) -> None:
    internet, bootstrap = net
    options = ("--no-lan", "--dht-bootstrap", bootstrap)
    source, out = tmp_path / "source", tmp_path / "out"
    source.write_bytes(random.Random(6).randbytes(1 << 20))
    sharer, getter = (internet.add_home(Nat.PRESERVING) for _ in range(2))
    with shoal("share", source, *options, ns=sharer.namespace) as sharing:
        words = ("get", link_of(sharing), "-o", out, "--timeout", 60)
        with shoal(*words, *options, ns=getter.namespace) as getting:
            assert getting.finish(90).code == 0
    assert out.read_bytes() == source.read_bytes()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_behind_nats_that_change_ports_two_meet_by_udp(tmp_path: Path) -> None:
    require_libtorrent()
    pairs = [
        Pair(Nat.CHANGING, Nat.CHANGING),
        Pair(Nat.CHANGING, Nat.PRESERVING),
        Pair(Nat.FIREWALL, Nat.CHANGING),
    ]
    assert None not in dict(by_dht(pairs, tmp_path)).values()


@pytest.mark.long
@pytest.mark.timeout(200)
def test_two_behind_nats_exchange_several_shares(
    net: tuple[Internet, str], tmp_path: Path
) -> None:
    """Their listening ports have one connection; the others need ports aside."""
    internet, bootstrap = net
    options = ("--no-lan", "--dht-bootstrap", bootstrap)
    env = {"XDG_DATA_HOME": str(tmp_path / "home")}
    links, out = tmp_path / "links", tmp_path / "out"
    sharer, getter = (internet.add_home(Nat.PRESERVING) for _ in range(2))
    sources = [tmp_path / f"source{number}" for number in range(3)]
    for source in sources:
        source.write_bytes(random.Random(source.name).randbytes(1 << 20))
    found = []
    for source in sources:
        with shoal("share", source, env={**NO_DISCOVERY, **env}) as sharing:
            found.append(link_of(sharing))
    links.write_text("\n".join(found))
    with shoal("seed", *options, ns=sharer.namespace, env=env):
        words = ("get", "-i", links, "-C", out, "--timeout", 60)
        with shoal(*words, *options, ns=getter.namespace) as getting:
            assert getting.finish(120).code == 0
    for source in sources:
        assert (out / source.name).read_bytes() == source.read_bytes()


@pytest.mark.long
def test_a_code_is_redeemed_and_its_share_fetched_behind_nats(
    net: tuple[Internet, str], tmp_path: Path
) -> None:
    internet, bootstrap = net
    options = ("--no-lan", "--dht-bootstrap", bootstrap)
    source, out = tmp_path / "source", tmp_path / "out"
    source.write_bytes(random.Random(8).randbytes(1 << 20))
    sharer, getter = (internet.add_home(Nat.PRESERVING) for _ in range(2))
    with shoal("share", source, "--code", *options, ns=sharer.namespace) as sharing:
        code = sharing.wait_line(CODE, stream="out")[0]
        with shoal("get", code, "-o", out, *options, ns=getter.namespace) as getting:
            assert getting.finish(90).code == 0
    assert out.read_bytes() == source.read_bytes()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_six_behind_nats_fetch_from_each_other(
    net: tuple[Internet, str], tmp_path: Path
) -> None:
    """The sharer is behind a NAT as well, and sends hardly more than one copy."""
    assert crowd.measure(tmp_path, 16 << 20, net).copies <= 1.3


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_share_that_waits_sends_little_and_to_the_dht_only(tmp_path: Path) -> None:
    """Only the first two lookups are quick."""
    require_libtorrent()
    first, *others = idle.minutes(tmp_path, 3)
    assert not set().union(*(each.strangers for each in (first, *others)))
    assert all(0 < each.to_dht <= 20 for each in others)


def test_with_lan_only_nothing_leaves_the_lan(tmp_path: Path) -> None:
    (source := tmp_path / "source").write_bytes(b"some bytes")
    recording, inside = tmp_path / "recording", tmp_path / "inside"
    with Internet() as internet:
        home = internet.add_home(Nat.DUAL)
        with recorded(home.router, recording), recorded(home.namespace, inside):
            nodes = {"SHOAL_DHT_BOOTSTRAP": "192.0.2.1:6881,[2a00:0:7::1]:6881"}
            share = ("share", source, "--lan-only", "--port", PORT)
            with shoal(*share, ns=home.namespace, env=nodes) as sharing:
                sharing.wait_line("Ctrl-C", stream="err")
                get = ("get", link_of(sharing), "-o", tmp_path / "out", "--lan-only")
                with shoal(*get, ns=home.namespace) as getting:
                    assert getting.finish(30).code == 0
                sharing.send(signal.SIGINT)
                sharing.finish()
    assert "224.0.0.251" in destinations(inside)
    assert not destinations(recording)
    # The router itself takes seconds to find the next one by IPv6.
    assert all(
        each.startswith(("ff02:", "fe80:")) for each in ipv6_destinations(inside)
    )


@pytest.mark.long
@pytest.mark.timeout(300)
def test_homes_whose_router_maps_ports_are_found_by_the_dht(tmp_path: Path) -> None:
    require_libtorrent()
    require(missing_router())
    kinds = [nat for nat in Nat if nat.maps and not nat.has_ipv6]
    pairs = [Pair(nat, Nat.SYMMETRIC) for nat in kinds]
    assert None not in dict(by_dht(pairs, tmp_path)).values()


def test_a_router_that_speaks_pcp_lets_peers_in_by_ipv6(tmp_path: Path) -> None:
    require(missing_router())
    source, out = tmp_path / "source", tmp_path / "out"
    source.write_bytes(random.Random(10).randbytes(1 << 20))
    with Internet() as internet:
        home, public = internet.add_home(Nat.PINHOLE), internet.add_home(Nat.PUBLIC)
        nowhere = ("--no-lan", "--dht-bootstrap", "[2a00:0:7::1]:6881")
        share = ("share", source, "--port", PORT, *nowhere)
        with shoal(*share, ns=home.namespace) as sharing:
            where = f"[{home.ipv6}]:{PORT}"
            sharing.wait_line(
                re.escape(f"Reachable from the internet at {where} (PCP)."),
                stream="err",
            )
            get = ("get", link_of(sharing), "-o", out, "--peer", where)
            with shoal(*get, ns=public.namespace, env=NO_DISCOVERY) as getting:
                assert getting.finish().code == 0
            assert f"dport {PORT}" in home.router.run("nft", "list", "ruleset")
            with shoal("doctor", *nowhere, ns=home.namespace) as doctor:
                doctor.wait_line(
                    rf"router\s+The router lets peers dial \[{home.ipv6}\]"
                )
            sharing.send(signal.SIGINT)
            sharing.finish()
        assert out.read_bytes() == source.read_bytes()
        assert f"dport {PORT}" not in home.router.run("nft", "list", "ruleset")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_with_ipv6_behind_firewalls_meet_by_its_dht(tmp_path: Path) -> None:
    require_libtorrent()
    pairs = [Pair(Nat.IPV6, Nat.IPV6), Pair(Nat.DUAL, Nat.DUAL)]
    assert None not in dict(by_dht(pairs, tmp_path, is_ipv6=True)).values()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_that_cannot_meet_fetch_through_the_relay_in_the_link(
    tmp_path: Path,
) -> None:
    require_libtorrent()
    ((_, reached),) = by_relay([Pair(Nat.SYMMETRIC, Nat.CHANGING)], tmp_path)
    assert reached is not None
    assert reached.path == "relayed"


@pytest.mark.long
def test_two_at_a_relay_connect_directly_once_a_common_peer_comes(
    tmp_path: Path,
) -> None:
    """The common peer has another file only, and comes when chunks are on their way."""
    shared, out = tmp_path / "shared", tmp_path / "out"
    shared.mkdir()
    (shared / "a").write_bytes(b"for the common peer")
    (shared / "b").write_bytes(random.Random(9).randbytes(4 << 20))
    with Internet() as internet:
        sharer, getter = (internet.add_home(Nat.CHANGING) for _ in range(2))
        common, public = (internet.add_home(Nat.PUBLIC) for _ in range(2))
        internet.enter_context(transit_relay(public.address, PORT, public.namespace))
        peer, relay = (f"{each.address}:{PORT}" for each in (common, public))
        ways = ("--peer", peer, "--relay", relay)

        def start(home: Home, *words: object) -> Program:
            program = shoal(*words, ns=home.namespace, env=NO_DISCOVERY)
            return internet.enter_context(program)

        share = ("share", shared, "--chunk-size", "64K", "--limit-up", "200K")
        link = link_of(start(sharer, *share, *ways))
        get = ("get", link, "-o", out, "--include", "b", "--json", *ways)
        getting = start(getter, *get)
        getting.wait_line('"path":"relayed"', 20)
        words = ("get", link, "-o", tmp_path / "third", "--include", "a", "--seed")
        start(common, *words, "--port", PORT)
        getting.wait_line('"path":"punched"', 20)
        assert getting.finish(40).code == 0
        assert (out / "b").read_bytes() == (shared / "b").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("way", speed.Way)
def test_homes_fetch_over_a_connection_of_any_kind(
    way: speed.Way, tmp_path: Path
) -> None:
    require(missing_router())
    assert speed.measure(tmp_path / "speed", 16 << 20, way) > 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_sharer_that_was_alone_for_long_is_reached_within_half_a_minute(
    tmp_path: Path,
) -> None:
    require_libtorrent()
    pairs = [PRESERVING, Pair(Nat.NESTED, Nat.FIREWALL)]
    for _, reached in by_dht(pairs, tmp_path):
        assert reached is not None
        assert reached.path == "punched"
