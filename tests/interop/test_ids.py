"""shoal and Node programs compute the same ids of hash channels."""

import pytest

from tests.conftest import MakeFile
from tests.helpers.peers import CHUNK, HASH_ID, Peers

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 << 20])
@pytest.mark.program(
    *("channels", "Node.js", "node --version"),
    "computes the same id of a channel",
)
def test_shoal_prints_the_id_that_node_computes(
    peers: Peers, make_file: MakeFile, size: int
) -> None:
    source = make_file(size, 1)
    _, channel = peers.share(source)
    assert peers.node("id.js", source).wait_line(HASH_ID)[0] == channel


def test_the_ids_also_agree_for_another_chunk_size(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(100_000, 2)
    _, channel = peers.share(source, "--chunk-size", 4_096)
    assert peers.node("id.js", source, 4_096).wait_line(HASH_ID)[0] == channel
    assert peers.node("id.js", source).wait_line(HASH_ID)[0] != channel
