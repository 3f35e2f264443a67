"""A router that maps ports lets peers on the internet dial a machine behind it.

The router runs the real miniupnpd; it and the machines are network namespaces.
"""

import json
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.capture import datagrams, destinations
from tests.helpers.commands import link_of
from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.programs import shoal
from tests.helpers.requirements import require
from tests.helpers.router import Home, mapping_router, missing_router

PORT = 4001
NOWHERE = "192.0.2.1:6881"  # a DHT that never answers, so that only --peer finds peers
SHARE = ("--port", PORT, "--no-lan", "--dht-bootstrap", NOWHERE)
pytestmark = pytest.mark.usefixtures("namespace")  # skips the tests without namespaces


@pytest.fixture(autouse=True)
def _has_router() -> None:
    require(missing_router())


def fetch(home: Home, link: str, port: int, out: Path) -> int:
    """Fetch on the internet, from a port of the router; return the exit code."""
    peer = f"{home.public}:{port}"
    words = ("get", link, "-o", out, "--peer", peer, "--lan-only", "--no-lan")
    with shoal(*words, "--timeout", 20, ns=home.outside) as getting:
        return getting.finish().code


@pytest.mark.parametrize(
    ("speaks", "is_igd_1"),
    [
        ("PCP", False),
        ("NAT-PMP", False),
        ("UPnP", False),
        pytest.param("UPnP", True, id="UPnP, IGD 1", marks=pytest.mark.long),
    ],
)
def test_a_mapped_port_is_dialled_from_the_internet_and_given_back(
    speaks: str, is_igd_1: bool, tmp_path: Path
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.write_bytes(os.urandom(100_000))
    with mapping_router(tmp_path, speaks=speaks, is_igd_1=is_igd_1) as home:
        with shoal("share", source, *SHARE, ns=home.inside) as sharing:
            sharing.wait_line(
                rf"Reachable from the internet at {home.public}:{PORT} \({speaks}\)\.",
                stream="err",
            )
            assert f":{PORT}" in home.rules()
            assert fetch(home, link_of(sharing), PORT, out) == 0
            sharing.send(signal.SIGINT)
            sharing.finish()
        assert out.read_bytes() == source.read_bytes()
        assert f":{PORT}" not in home.rules()


def test_another_port_of_the_router_is_told_to_peers(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(100_000))
    with (
        mapping_router(tmp_path, speaks="UPnP", ports="20000-30000") as home,
        ExitStack() as stack,
    ):
        between = f"{home.public_of_outside}:5000"
        share = ("share", source, *SHARE, "--peer", between, "--json")
        sharing = stack.enter_context(shoal(*share, ns=home.inside))
        start = sharing.wait_line('"event":"start"', stream="out").string
        said = sharing.wait_line('"event":"reachable"', stream="out").string
        address = json.loads(said)["address"]
        assert address.startswith(f"{home.public}:2")
        # The sharer dials the first peer, which then tells the second one of it.
        link = json.loads(start)["link"]
        get = ("get", link, "--lan-only", "--no-lan", "--timeout", 20, "--seed")
        one = (*get, "-o", tmp_path / "one", "--port", 5000)
        first = stack.enter_context(shoal(*one, ns=home.outside))
        first.wait_line("Ctrl-C", stream="err")
        two = (*get, "-o", tmp_path / "two", "--peer", between, "--json")
        second = stack.enter_context(shoal(*two, ns=home.outside))
        second.wait_line(f'"event":"peer","address":"{address}"', stream="out")


@pytest.mark.parametrize("flag", ["--no-map", "--lan-only", "--port=0"])
def test_the_router_is_asked_for_nothing_if_the_user_forbids_it(
    flag: str, tmp_path: Path
) -> None:
    source, recorded = tmp_path / "source", tmp_path / "packets"
    source.write_bytes(b"some bytes")
    argv = [sys.executable, "-m", "tests.helpers.capture", str(recorded), "h1"]
    with mapping_router(tmp_path) as home:
        with Program(argv, namespace=home.inside, has_input=True) as capture:
            capture.wait_line("ready")
            words = SHARE[:3] if flag == "--lan-only" else SHARE
            with shoal("share", source, *words, flag, ns=home.inside) as sharing:
                sharing.wait_line("Ctrl-C", stream="err")
                if flag == "--port=0":
                    sharing.wait_line("Reachable", stream="err")
                sharing.send(signal.SIGINT)
                sharing.finish()
            capture.end_input()
            capture.wait_line("done")
    asked = any(each.ports & {5351, 1900} for each in datagrams(recorded))
    assert asked == (flag == "--port=0")
    if flag == "--lan-only":
        assert all(each.startswith("192.168.9.") for each in destinations(recorded))


@pytest.mark.parametrize(
    ("subnet", "expected"),
    [
        ("11.0.0", r"ok\s+router\s+Peers on the internet can dial 11\.0\.0\.2:4001"),
        (
            "100.64.0",
            r"note\s+router\s+.* maps no port: .*no address on the internet",
        ),
    ],
)
def test_doctor_says_what_the_router_does(
    subnet: str, expected: str, tmp_path: Path
) -> None:
    with mapping_router(tmp_path, subnet=subnet) as home:
        words = ("doctor", "--port", PORT, "--no-lan", "--dht-bootstrap", NOWHERE)
        with shoal(*words, ns=home.inside) as doctor:
            doctor.wait_line(expected, stream="out")
            doctor.kill()


def test_doctor_says_that_there_is_no_router(namespace: Namespace) -> None:
    words = ("doctor", "--no-lan", "--dht-bootstrap", NOWHERE)
    with shoal(*words, ns=namespace) as doctor:
        doctor.wait_line(r"note\s+router\s+No router was found", stream="out")
        doctor.wait_line(r"^\s+Turn on PCP, NAT-PMP or UPnP", stream="out")
