"""A code is found in a DHT of bittorrent-dht nodes, and its packets keep its secret."""

import sys
from pathlib import Path

import pytest

from shoal.core.names.code import parse_code
from tests.conftest import MakeFile
from tests.helpers.capture import datagrams
from tests.helpers.peers import Peers
from tests.helpers.process import Program

pytestmark = pytest.mark.interop

NODES = 20


@pytest.mark.program(
    *("dht", "libtorrent", "pip:libtorrent"),
    "leads from a code to its sender",
)
def test_a_code_leads_to_its_sender_in_the_dht(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    source, out, packets = make_file(50_000, 9), tmp_path / "out", tmp_path / "packets"
    nodes = peers.node("dht.js", NODES).wait_line(r"^bootstrap (\d+)$")[1]
    where = ("--no-lan", "--dht-bootstrap", f"127.0.0.1:{nodes}")
    argv = [sys.executable, "-m", "tests.helpers.capture", str(packets)]
    with Program(argv, namespace=peers.ns, has_input=True) as capture:
        capture.wait_line("ready")
        sharer = peers.shoal("share", source, "--code", *where)
        text = sharer.wait_line(r"^\d{4}(-\w+){3}$", stream="out").string
        code = parse_code(text)
        for _ in range(5):  # the first search may be too early
            ended = peers.shoal("get", code, "-o", out, "--timeout", 5, *where)
            if ended.finish(60).code == 0:
                break
        capture.end_input()
        capture.wait_line("done")
    assert out.read_bytes() == source.read_bytes()
    sent = b"|".join(each.data for each in datagrams(packets))
    assert code.keys.dht_topic in sent
    for secret in (code.password, code.keys.psk, code.keys.lan_topic, text.encode()):
        assert secret not in sent
