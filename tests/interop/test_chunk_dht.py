"""Chunks between Node programs and ours when only the DHT joins them."""

import json

import pytest

from tests.conftest import MakeFile
from tests.helpers.peers import CHUNK, Peers
from tests.helpers.programs import Program

pytestmark = pytest.mark.interop

NODES = 20


class Dht:
    """A DHT of the namespace, and the options by which programs enter it alone."""

    def __init__(self, peers: Peers) -> None:
        nodes = peers.node("dht.js", NODES)
        port = nodes.wait_line(r"^bootstrap (\d+)$")[1]
        address = f"127.0.0.1:{port}"
        self.nodes = ["--no-dns", "--dht", json.dumps({"bootstrap": [address]})]
        self.ours = ["--no-lan", "--dht-bootstrap", address]


def test_we_get_a_chunk_of_a_node_server_in_the_dht(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(2 * CHUNK, 1)
    dht = Dht(peers)
    peers.node_named(source, "a name", *dht.nodes)
    code, out, err = peers.shoal("chunk", "a name", 1, *dht.ours).finish()
    assert (code, out) == (0, source.read_bytes()[CHUNK:]), err


def test_a_node_client_gets_a_chunk_of_ours_in_the_dht(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(2 * CHUNK, 2)
    dht = Dht(peers)
    server = peers.shoal("share", source, "--open", "a name", *dht.ours)
    port = server.wait_line(r" on port (\d+)")[1]
    # It asks the DHT once and then not for ten minutes, so ours has to be in it.
    client = ask_until_found(peers, "a name", dht)
    assert client.wait_line(r"^asked \S+:(\d+)$")[1] == port
    assert client.finish().stdout == source.read_bytes()[CHUNK:]


def ask_until_found(peers: Peers, name: str, dht: Dht) -> Program:
    """Start clients, one after the other, until one of them finds a server."""
    for _ in range(5):
        client = peers.node("client.js", name, 1, *dht.nodes)
        try:
            client.wait_line(r"^asked", 4)
        except AssertionError:
            client.kill()
        else:
            return client
    raise AssertionError("nobody was found in the DHT")
