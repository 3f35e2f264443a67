"""Two machines behind NATs that let nothing through meet at a relay, if they name one.

The relay is the real one of magic-wormhole, on the internet of these namespaces.
"""

import json
import random
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from shoal.core.names.link import Link, parse_link
from tests.helpers.capture import destinations
from tests.helpers.commands import code_of, link_of
from tests.helpers.nats import Home, Internet, Nat, missing_nats
from tests.helpers.process import Program
from tests.helpers.programs import shoal
from tests.helpers.requirements import require
from tests.helpers.transit_relay import transit_relay

SIZE = 1 << 20  # bytes
PORT = 4100  # of the relay
# A DHT that never answers; unlike --lan-only, it leaves the relays in links usable.
ALONE = ("--no-lan", "--no-map", "--dht-bootstrap", "192.0.2.1:6881")


class World(ExitStack):
    """A relay on the internet, and homes that are added."""

    def __init__(self, folder: Path) -> None:
        """Record the packets of the relay in a folder."""
        super().__init__()
        require(missing_nats())
        self.net = self.enter_context(Internet())
        public = self.net.add_home(Nat.PUBLIC)
        self.enter_context(transit_relay(public.address, PORT, public.namespace))
        self.packets = folder / "packets"
        argv = [sys.executable, "-m", "tests.helpers.capture", str(self.packets), "wan"]
        self.capture = self.enter_context(
            Program(argv, namespace=public.namespace, has_input=True)
        )
        self.capture.wait_line("ready")
        self.relay_at = f"{public.address}:{PORT}"

    def run(self, home: Home, *words: object) -> Program:
        """Start a command at a home."""
        return self.enter_context(shoal(*words, *ALONE, ns=home.namespace))

    def end_capture(self) -> Path:
        """Return the file with all packets that the relay has sent and received."""
        self.capture.end_input()
        self.capture.wait_line("done")
        return self.packets


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(random.Random(6).randbytes(SIZE))
    return path


def test_machines_that_reach_nobody_meet_at_the_relay_in_the_link(source: Path) -> None:
    with World(source.parent) as world:
        homes = [world.net.add_home(Nat.SYMMETRIC) for _ in range(3)]
        sharing = world.run(homes[0], "share", source, "--relay", world.relay_at)
        link = link_of(sharing)
        assert f"relay={world.relay_at}" in link
        outs = [source.with_name(f"out{number}") for number in (1, 2)]
        getting = [
            world.run(home, "get", link, "-o", out, "--seed", "--json")
            for home, out in zip(homes[1:], outs, strict=True)
        ]
        for program, out in zip(getting, outs, strict=True):
            joined = program.wait_line('"event":"peer".*"state":"joined"', 30).string
            assert json.loads(joined)["source"] == "relayed"
            program.wait_line('"event":"complete"', 30)
            assert out.read_bytes() == source.read_bytes()
        seen = world.end_capture().read_bytes()
    # The relay gets to know tokens, sides and ciphertext.
    keys = parse_link(link).keys
    assert seen.count(f"please relay {keys.relay_token.hex()} for".encode()) > 2
    for secret in (parse_link(link).id, keys.psk, keys.log, source.read_bytes()[:64]):
        assert secret not in seen
        assert secret.hex().encode() not in seen
    assert source.name.encode() not in seen


def test_no_relay_is_used_while_another_way_works(source: Path) -> None:
    with World(source.parent) as world:
        one, other = world.net.add_home(Nat.PUBLIC), world.net.add_home(Nat.SYMMETRIC)
        share = ("share", source, "--relay", world.relay_at, "--port", 4001)
        link = link_of(world.run(one, *share))
        out = source.with_name("out")
        get = ("get", link, "-o", out, "--peer", f"{one.address}:4001")
        assert world.run(other, *get).finish(30).code == 0
        sent_to = destinations(world.end_capture())
    assert (one.address in sent_to, other.address in sent_to) == (True, False)


def test_a_code_leads_to_the_link_and_the_files_through_a_relay(source: Path) -> None:
    with World(source.parent) as world:
        one, other = (world.net.add_home(Nat.SYMMETRIC) for _ in range(2))
        relay = ("--relay", world.relay_at)
        code = code_of(world.run(one, "share", source, "--code", *relay))
        out = source.with_name("out")
        words = ("get", code, "-o", out, *relay, "--timeout", 4)
        ended = world.run(other, *words).finish(30)
        assert ended.code == 0, ended.stderr
        assert out.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("command", ["info", "cat"])
def test_a_short_timeout_leaves_time_for_a_relay(command: str, source: Path) -> None:
    with World(source.parent) as world:
        one, other = (world.net.add_home(Nat.SYMMETRIC) for _ in range(2))
        link = link_of(world.run(one, "share", source, "--relay", world.relay_at))
        ended = world.run(other, command, link, "--timeout", 4).finish(30)
        assert ended.code == 0, ended.stderr
        if command == "cat":
            assert ended.stdout == source.read_bytes()


def test_the_message_names_the_relay_that_was_tried(source: Path) -> None:
    with World(source.parent) as world:
        home = world.net.add_home(Nat.SYMMETRIC)
        link = f"{Link(bytes(32))}"
        words = ("get", link, "--relay", world.relay_at, "--timeout", 1)
        ended = world.run(home, *words).finish(30)
        assert ended.code == 3
        assert f"No peer came to the relay {world.relay_at}, either" in ended.stderr


@pytest.mark.long
def test_without_a_relay_they_do_not_meet(source: Path) -> None:
    with World(source.parent) as world:
        one, other = (world.net.add_home(Nat.SYMMETRIC) for _ in range(2))
        sharing = world.run(one, "share", source, "--port", 4001)
        get = ("get", link_of(sharing), "-o", source.with_name("out"))
        more = ("--peer", f"{one.address}:4001", "--timeout", 6)
        assert world.run(other, *get, *more).finish(40).code == 3


def test_a_relay_that_cannot_be_used_is_named(source: Path) -> None:
    with World(source.parent) as world:
        home = world.net.add_home(Nat.PUBLIC)
        sharing = world.run(home, "share", source, "--relay", f"{home.address}:1")
        sharing.wait_line(
            rf"The relay {home.address}:1 cannot be used: .* Connection refused",
            stream="err",
        )


def test_doctor_tells_whether_a_relay_works(source: Path) -> None:
    with World(source.parent) as world:
        home = world.net.add_home(Nat.SYMMETRIC)
        other = f"{home.address}:1"
        words = ("doctor", "--relay", world.relay_at, "--relay", other)
        doctor = world.run(home, *words)
        doctor.wait_line(rf"^ok +relay +{world.relay_at} joins two", stream="out")
        expected = rf"^failed +relay +{other} does not work as a relay"
        doctor.wait_line(expected, stream="out")
