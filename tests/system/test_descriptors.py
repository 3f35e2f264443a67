"""Few file descriptors: files of all shares together, and honest messages."""

import os
import sys
from pathlib import Path

import pytest

from shoal.node.node import Node
from shoal.storage.disk.openfiles import MAX_OF_NODE
from tests.helpers.commands import LOOPBACK, link_of, peer_of, share
from tests.helpers.fetching import here
from tests.helpers.process import Program

SHARES = 16
FILES = 64  # of each share; as many as one share keeps open
OTHERS = 64  # descriptors of a node for anything but files


async def test_open_files_are_limited_for_the_node_and_not_for_each_share(
    tmp_path: Path,
) -> None:
    for number in range(SHARES):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file in range(FILES):
            (folder / str(file)).write_bytes(os.urandom(100))
    before = len(os.listdir("/proc/self/fd"))
    async with Node(here()) as node:
        for number in range(SHARES):
            await node.share(tmp_path / str(number))
        used = len(os.listdir("/proc/self/fd")) - before
    assert used <= MAX_OF_NODE + OTHERS


@pytest.mark.parametrize("limit", [8, 10, 12, 14, 16, 18])
def test_a_lack_of_descriptors_is_called_that(limit: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    with share(file) as source:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")}
        words = ("get", link_of(source), "--peer", peer_of(source), "--timeout", "2")
        script = f'ulimit -n {limit}; exec "$@"'
        argv = [sys.executable, "-m", "shoal", *words, "-o", str(tmp_path / "out")]
        line = ["sh", "-c", script, "sh", *argv]
        ended = Program(line, env={**clean, **LOOPBACK}).finish()
    assert "too many files and connections open" in ended.stderr, ended
    assert ended.code in (1, 3)
    assert "firewall" not in ended.stderr
    assert "bug" not in ended.stderr
