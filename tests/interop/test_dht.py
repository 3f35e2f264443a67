"""shoal's DHT client among real nodes: bittorrent-dht, discovery-channel, libtorrent.

All nodes are on the loopback interface of a namespace.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.netns import Namespace
from tests.helpers.programs import Program, missing_node, node
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


def test_discovery_channel_finds_announcements_of_shoal(dht: Dht) -> None:
    dht.python("dht_tool", 4011)
    dht.channel("find.js", ID).wait_line(r"^peer 127\.0\.0\.1:4011$")


def test_libtorrent_finds_announcements_of_shoal(dht: Dht) -> None:
    require(missing_libtorrent())
    dht.python("dht_tool", 4012)
    dht.python("dht_oracle", None).wait_line(r"^peer 127\.0\.0\.1:4012$")


def test_shoal_finds_announcements_of_libtorrent(dht: Dht) -> None:
    require(missing_libtorrent())
    dht.python("dht_oracle", 4013)
    dht.python("dht_tool", None).wait_line(r"^peer 127\.0\.0\.1:4013$")
