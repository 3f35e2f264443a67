"""A recording of all packets reveals only that a share exists, also in the DHT.

It contains neither the id nor names, and does not show that the announcements on the
LAN and in the DHT belong to one share. The DHT consists of bittorrent-dht nodes.
"""

import sys
from pathlib import Path

import pytest

from shoal.core.names.link import Link, parse_link
from tests.helpers.capture import datagrams
from tests.helpers.peers import Peers
from tests.helpers.process import Program

pytestmark = pytest.mark.interop

NODES = 20
LAN_PORTS = {5353, 15353}
NAMES = ["PayrollOfTheQuietYear", "MinutesOfTheOwls.txt", "déjà-vu-Ω.bin", "Nook"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with conspicuous names."""
    top = tmp_path / NAMES[0]
    (top / NAMES[3]).mkdir(parents=True)
    (top / NAMES[1]).write_bytes(b"The owls met at dusk. " * 5000)
    (top / NAMES[3] / NAMES[2]).write_bytes(b"What was said stays here. " * 3000)
    return top


def fetch(peers: Peers, link: Link, out: Path, *where: str) -> None:
    """Fetch, and try again if the first search was too early to find a peer."""
    for _ in range(5):
        words = ("get", link, "-o", out, "--timeout", 5, *where)
        if peers.shoal(*words).finish().code == 0:
            return
    raise AssertionError("no peer was found in the DHT")


def secrets_of(link: Link) -> dict[str, bytes]:
    """Return all secrets in every form in which packets could contain them."""
    keys, text = link.keys, str(link).partition("?")[0].removeprefix("shoal:")
    secret = {"id": link.id, "psk": keys.psk, "log": keys.log}
    hexed = {f"{name} in hex": value.hex().encode() for name, value in secret.items()}
    named = {name: name.encode() for name in NAMES}
    return {**secret, **hexed, **named, "the link": text[:20].encode()}


def assert_none_in(seen: bytes, secrets: dict[str, bytes]) -> None:
    lowered = seen.lower()
    for name, secret in secrets.items():
        assert secret not in seen, name
        assert secret.lower() not in lowered, name


def test_a_capture_of_a_transfer_through_the_dht_contains_no_secrets(
    peers: Peers, folder: Path, tmp_path: Path
) -> None:
    packets, out = tmp_path / "packets", tmp_path / "out"
    nodes = peers.node("dht.js", NODES).wait_line(r"^bootstrap (\d+)$")[1]
    dht = ("--dht-bootstrap", f"127.0.0.1:{nodes}")
    argv = [sys.executable, "-m", "tests.helpers.capture", str(packets)]
    with Program(argv, namespace=peers.ns, has_input=True) as capture:
        capture.wait_line("ready")
        sharer = peers.shoal("share", folder, *dht)
        link = parse_link(sharer.wait_line("^shoal:", stream="out").string)
        fetch(peers, link, out, "--no-lan", *dht)
        capture.end_input()
        capture.wait_line("done")
    for name in (NAMES[1], f"{NAMES[3]}/{NAMES[2]}"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    sent = list(datagrams(packets))
    on_lan = b"|".join(each.data for each in sent if each.ports & LAN_PORTS)
    in_dht = b"|".join(each.data for each in sent if not each.ports & LAN_PORTS)
    keys = link.keys
    # The recording has both announcements, each with the topic of its own network.
    assert keys.lan_topic.hex().encode() in on_lan
    assert keys.dht_topic in in_dht
    topics = {"the LAN's topic": keys.lan_topic, "the DHT's topic": keys.dht_topic}
    for name, seen in (("the DHT's topic", on_lan), ("the LAN's topic", in_dht)):
        hexed = topics[name].hex().encode()
        assert_none_in(seen, {name: topics[name], f"{name} in hex": hexed})
    everything = packets.read_bytes()
    assert len(everything) > 150_000
    assert_none_in(everything, secrets_of(link))
    assert b"owls met at dusk" not in everything
