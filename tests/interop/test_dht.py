"""shoal in a DHT of real nodes: bittorrent-dht, discovery-channel, libtorrent.

All nodes are on the loopback interface of a namespace.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import link_of
from tests.helpers.netns import Namespace
from tests.helpers.peers import CHUNK
from tests.helpers.programs import Program, missing_node, node, shoal
from tests.helpers.requirements import require

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parent.parent.parent
NODES = 24
ID = "a channel in the DHT"
TOPIC = hashlib.sha1(ID.encode()).hexdigest()


class Dht(ExitStack):
    """A DHT of real nodes, and the programs that use it."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__()
        self._namespace = namespace
        nodes = self.enter_context(node("dht.js", NODES, ns=namespace))
        self.bootstrap = f"127.0.0.1:{nodes.wait_line(r'^bootstrap ([0-9]+)$')[1]}"

    def channel(self, script: str, *args: object) -> Program:
        """Start a program that uses discovery-channel with only the DHT."""
        dht = f'{{"bootstrap":["{self.bootstrap}"],"interval":1000}}'
        return self.enter_context(
            node(script, *args, "--no-dns", "--dht", dht, ns=self._namespace)
        )

    def shoal(self, *args: object) -> Program:
        """Start a command of shoal that uses only the DHT."""
        alone = ("--no-lan", "--dht-bootstrap", self.bootstrap)
        return self.enter_context(shoal(*args, *alone, ns=self._namespace))

    def python(self, module: str, port: int | None) -> Program:
        """Start one of the Python programs in this folder."""
        argv = [sys.executable, "-m", f"tests.interop.{module}", TOPIC]
        argv += ["-" if port is None else str(port), self.bootstrap]
        return self.enter_context(Program(argv, namespace=self._namespace, cwd=ROOT))


@pytest.fixture
def dht(namespace: Namespace) -> Iterator[Dht]:
    """Yield a DHT in a namespace; its programs end with the test."""
    require(missing_node())
    with Dht(namespace) as made:
        yield made


def missing_libtorrent() -> str | None:
    """Return why libtorrent is missing; None if it is installed."""
    if importlib.util.find_spec("libtorrent") is None:
        return "libtorrent is not installed (it has no wheel for Python 3.14)"
    return None


@pytest.mark.program(
    *("dht", "bittorrent-dht (npm)", "npm:bittorrent-dht"),
    "shoal finds what it announces",
)
def test_shoal_finds_announcements_of_discovery_channel(dht: Dht) -> None:
    server = dht.channel("server.js", __file__, ID)
    port = server.wait_line(r"^listening ([0-9]+)$")[1]
    dht.python("dht_tool", None).wait_line(rf"^peer 127\.0\.0\.1:{port}$")


def test_shoal_finds_a_peer_that_announces_later(dht: Dht) -> None:
    client = dht.python("dht_tool", 4010)
    client.wait_line(r"^peer 127\.0\.0\.1:4010$")  # its own announcement
    server = dht.channel("server.js", __file__, ID)
    port = server.wait_line(r"^listening ([0-9]+)$")[1]
    client.wait_line(rf"^peer 127\.0\.0\.1:{port}$")


@pytest.mark.program(
    *("dht", "bittorrent-dht (npm)", "npm:bittorrent-dht"),
    "finds what shoal announces",
)
def test_discovery_channel_finds_announcements_of_shoal(dht: Dht) -> None:
    dht.python("dht_tool", 4011)
    dht.channel("find.js", ID).wait_line(r"^peer 127\.0\.0\.1:4011$")


@pytest.mark.program(
    *("dht", "libtorrent", "pip:libtorrent"),
    "finds what shoal announces",
)
def test_libtorrent_finds_announcements_of_shoal(dht: Dht) -> None:
    require(missing_libtorrent())
    dht.python("dht_tool", 4012)
    dht.python("dht_oracle", None).wait_line(r"^peer 127\.0\.0\.1:4012$")


@pytest.mark.program(
    *("dht", "libtorrent", "pip:libtorrent"),
    "shoal finds what it announces",
)
def test_shoal_finds_announcements_of_libtorrent(dht: Dht) -> None:
    require(missing_libtorrent())
    dht.python("dht_oracle", 4013)
    dht.python("dht_tool", None).wait_line(r"^peer 127\.0\.0\.1:4013$")


class IPv6Dht(ExitStack):
    """A DHT of libtorrent nodes that have IPv6 addresses only."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__()
        self._namespace = namespace
        hosts = [f"fd01::{number}" for number in range(1, 9)]
        for host in hosts:
            namespace.run("ip", "addr", "add", f"{host}/128", "dev", "lo")
        nodes = self.start("dht_nodes", *(f"{namespace.pid}/{host}" for host in hosts))
        self.bootstrap = nodes.wait_line(r"^ready (\S+)$")[1]

    def start(self, module: str, *args: str) -> Program:
        """Start one of the Python programs in this folder."""
        argv = [sys.executable, "-m", f"tests.interop.{module}", *args]
        return self.enter_context(Program(argv, namespace=self._namespace, cwd=ROOT))

    def shoal(self, *args: object) -> Program:
        """Start a command of shoal that uses only the DHT."""
        alone = ("--no-lan", "--no-map", "--dht-bootstrap", self.bootstrap)
        return self.enter_context(shoal(*args, *alone, ns=self._namespace))


def test_shoal_and_libtorrent_find_each_other_in_the_ipv6_dht(
    namespace: Namespace, make_file: MakeFile
) -> None:
    require(missing_libtorrent())
    with IPv6Dht(namespace) as dht:
        dht.start("dht_oracle", TOPIC, "4013", dht.bootstrap, "[fd01::8]:0")
        ours = dht.start("dht_tool", TOPIC, "4012", dht.bootstrap)
        ours.wait_line(r"^peer \[fd01::8\]:4013$")
        theirs = dht.start("dht_oracle", TOPIC, "-", dht.bootstrap, "[fd01::7]:0")
        theirs.wait_line(r"^peer \[fd01::\d\]:4012$")
        source = make_file(1 << 20, 1)
        sharing = dht.shoal("share", source)
        out = source.with_suffix(".copy")
        getting = dht.shoal("get", link_of(sharing), "-o", out)
        assert getting.finish().code == 0
        assert out.read_bytes() == source.read_bytes()


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.program(
    *("dht", "libtorrent", "pip:libtorrent"),
    "stores the announcements of 60 shares of one node",
)
def test_sixty_shares_are_announced_to_nodes_that_ignore_who_sends_much(
    namespace: Namespace,
) -> None:
    """libtorrent ignores an address for five minutes after 50 packets in 10 s."""
    require(missing_libtorrent())
    argv = [sys.executable, "-m", "tests.interop.dht_many", "60"]
    with Program(argv, namespace=namespace, cwd=ROOT) as program:
        program.wait_line(r"^found 60$", 300)


@pytest.mark.program(
    *("dht", "discovery-channel (npm)", "npm:discovery-channel"),
    "a server is found and sends a chunk",
)
def test_shoal_gets_a_chunk_from_a_node_server_in_the_dht(
    dht: Dht, make_file: MakeFile
) -> None:
    source = make_file(2 * CHUNK, 1)
    dht.channel("server.js", source, ID).wait_line(r"^listening ")
    code, out, err = dht.shoal("chunk", ID, 1).finish()
    assert (code, out) == (0, source.read_bytes()[CHUNK:]), err


@pytest.mark.program(
    *("dht", "discovery-channel (npm)", "npm:discovery-channel"),
    "finds shoal and fetches a chunk",
)
def test_a_node_client_gets_a_chunk_from_shoal_in_the_dht(
    dht: Dht, make_file: MakeFile
) -> None:
    source = make_file(2 * CHUNK, 2)
    server = dht.shoal("share", source, "--open", ID)
    port = server.wait_line(r" on port (\d+)")[1]
    # Node searches once and then not for ten minutes, so shoal must announce first.
    client = client_that_finds_a_server(dht)
    assert client.wait_line(r"^asked \S+:(\d+)$")[1] == port
    assert client.finish().stdout == source.read_bytes()[CHUNK:]


def client_that_finds_a_server(dht: Dht) -> Program:
    """Start clients one after another until one finds a server."""
    for _ in range(5):
        client = dht.channel("client.js", ID, 1)
        try:
            client.wait_line(r"^asked", 4)
        except AssertionError:
            client.kill()
        else:
            return client
    raise AssertionError("no peer was found in the DHT")
