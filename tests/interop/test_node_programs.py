"""Facts about the Node programs that the other tests rely on."""

import pytest

from tests.conftest import MakeFile
from tests.helpers.peers import CHUNK, Peers

pytestmark = pytest.mark.interop


def test_the_client_waits_for_a_server_that_starts_later(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(CHUNK, 2)
    client = peers.node("client.js", "later", 0)
    peers.node_named(source, "later")
    assert client.finish().stdout == source.read_bytes()


def test_an_index_out_of_range_ends_the_server(
    peers: Peers, make_file: MakeFile
) -> None:
    server = peers.node_named(make_file(CHUNK, 3), "x")
    peers.node("client.js", "x", 1)
    code, _, err = server.finish()
    assert code != 0
    assert "no files matching the request range" in err


def test_the_server_survives_a_client_that_disconnects(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(500 * CHUNK, 4)
    server, channel = peers.node_hashed(source)
    first = peers.node("hash-client.js", channel, source.with_name("half"))
    server.wait_line(r"^served", count=8)
    first.kill()
    target = source.with_name("whole")
    assert peers.node("hash-client.js", channel, target).finish(30).code == 0
    assert server.running
    assert target.read_bytes() == source.read_bytes()
