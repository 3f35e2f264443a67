"""The Node programs work with each other, so failures of other tests are shoal's."""

import hashlib
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.peers import CHUNK, HASH_ID, Peers, served

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("index", [0, 3, 9])
def test_the_client_gets_a_chunk_of_a_named_channel(
    peers: Peers, make_file: MakeFile, index: int
) -> None:
    source = make_file(9 * CHUNK + 100, 1)
    peers.node_named(source, "a name")
    code, out, _ = peers.node("client.js", "a name", index).finish()
    assert (code, out) == (0, source.read_bytes()[index * CHUNK :][:CHUNK])


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


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_the_id_is_the_hash_of_the_hashes(
    peers: Peers, make_file: MakeFile, size: int
) -> None:
    source = make_file(size, 5)
    data = source.read_bytes()
    chunks = [data[at : at + CHUNK] for at in range(0, size, CHUNK)]
    hashes = [hashlib.sha256(chunk).hexdigest() for chunk in chunks]
    wanted = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    assert peers.node("id.js", source).wait_line(HASH_ID)[0] == wanted
    assert peers.node("hash-server.js", source).wait_line(HASH_ID)[0] == wanted


@pytest.mark.parametrize("flags", [[], ["--nodelay"]], ids=["without", "nodelay"])
def test_the_client_fetches_from_all_servers_at_once(
    peers: Peers, make_file: MakeFile, flags: list[str]
) -> None:
    source = make_file(1_000 * CHUNK + 1, 6)
    servers = [peers.node_hashed(source, *flags) for _ in range(3)]
    target = source.with_name("fetched")
    client = peers.node("hash-client.js", servers[0][1], target, *flags)
    code, out, _ = client.finish(40)
    assert code == 0
    assert target.read_bytes() == source.read_bytes()
    shares = [int(line.split()[2]) for line in out.decode().splitlines()]
    assert sorted(shares) == sorted(len(served(server)) for server, _ in servers)
    assert sum(shares) == 1_001
    assert min(shares) > 0


def test_an_empty_file_arrives(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    _, channel = peers.node_hashed(make_file(0, 7))
    assert peers.node("hash-client.js", channel, tmp_path / "out").finish().code == 0
    assert (tmp_path / "out").read_bytes() == b""


def test_flipped_bits_are_detected(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    _, channel = peers.node_hashed(make_file(CHUNK, 8), "--flip")
    code, _, err = peers.node("hash-client.js", channel, tmp_path / "out").finish()
    assert code != 0
    assert "AssertionError" in err


def test_a_server_with_stop_after_stops_answering(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    server, channel = peers.node_hashed(make_file(50 * CHUNK, 9), "--stop-after", 20)
    client = peers.node("hash-client.js", channel, tmp_path / "out")
    server.wait_line(r"^served", count=20)
    with pytest.raises(AssertionError, match="no '\\^served'"):
        server.wait_line(r"^served", 1, count=21)
    assert client.running
    assert server.running
