"""Chunks between Node programs and shoal that find each other only in the DHT."""

import json

import pytest

from tests.conftest import MakeFile
from tests.helpers.peers import CHUNK, Peers
from tests.helpers.programs import Program

pytestmark = pytest.mark.interop

NODES = 20


class Dht:
    """A DHT in a namespace, and the options with which programs use only this DHT."""

    def __init__(self, peers: Peers) -> None:
        nodes = peers.node("dht.js", NODES)
        port = nodes.wait_line(r"^bootstrap (\d+)$")[1]
        address = f"127.0.0.1:{port}"
        self.nodes = ["--no-dns", "--dht", json.dumps({"bootstrap": [address]})]
        self.ours = ["--no-lan", "--dht-bootstrap", address]


def test_shoal_gets_a_chunk_from_a_node_server_in_the_dht(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(2 * CHUNK, 1)
    dht = Dht(peers)
    peers.node_named(source, "a name", *dht.nodes)
    code, out, err = peers.shoal("chunk", "a name", 1, *dht.ours).finish()
    assert (code, out) == (0, source.read_bytes()[CHUNK:]), err


def test_a_node_client_gets_a_chunk_from_shoal_in_the_dht(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(2 * CHUNK, 2)
    dht = Dht(peers)
    server = peers.shoal("share", source, "--open", "a name", *dht.ours)
    port = server.wait_line(r" on port (\d+)")[1]
    # Node searches once and then not for ten minutes, so shoal must announce first.
    client = ask_until_found(peers, "a name", dht)
    assert client.wait_line(r"^asked \S+:(\d+)$")[1] == port
    assert client.finish().stdout == source.read_bytes()[CHUNK:]


def ask_until_found(peers: Peers, name: str, dht: Dht) -> Program:
    """Start clients one after another until one finds a server."""
    for _ in range(5):
        client = peers.node("client.js", name, 1, *dht.nodes)
        try:
            client.wait_line(r"^asked", 4)
        except AssertionError:
            client.kill()
        else:
            return client
    raise AssertionError("no peer was found in the DHT")
