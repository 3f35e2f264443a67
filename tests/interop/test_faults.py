"""Downloads from Node servers that lie, stall or end, and a download that is killed."""

from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.peers import CHUNK, Peers, served

pytestmark = [pytest.mark.interop, pytest.mark.timeout(150)]

CHUNKS = 20 << 10
SIZE = CHUNKS * CHUNK
IN_FLIGHT = 1_024
"""More requests than `get` has in flight at one peer at any moment."""


def test_a_download_completes_although_three_of_four_servers_fail(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    source = make_file(SIZE, 1)
    honest, channel = peers.node_hashed(source)
    liar, _ = peers.node_hashed(source, "--flip")
    silent, _ = peers.node_hashed(source, "--stop-after", CHUNKS // 8)
    mortal, _ = peers.node_hashed(source)
    client = peers.get(channel, tmp_path / "out")
    mortal.wait_line(r"^served", count=CHUNKS // 10)
    mortal.kill()
    assert client.running, "the download ended before a server failed"
    code, _, err = client.finish(90)
    assert code == 0, err
    assert (tmp_path / "out").read_bytes() == source.read_bytes()
    assert silent.running
    assert len(served(silent)) == CHUNKS // 8, "the server did not fall silent"
    assert 0 < len(served(liar)) <= IN_FLIGHT, "the liar was not banned at once"
    assert len(served(honest)) > CHUNKS // 4


def test_a_download_killed_again_and_again_resumes(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    source = make_file(SIZE, 5)
    server, channel = peers.node_hashed(source)
    target = tmp_path / "out"
    for part in (1, 2, 3):
        client = peers.get(channel, target)
        server.wait_line(r"^served", count=part * CHUNKS // 4)
        client.kill()
    code, _, err = peers.get(channel, target).finish(90)
    assert code == 0, err
    assert target.read_bytes() == source.read_bytes()
    assert len(served(server)) <= CHUNKS + 3 * IN_FLIGHT
