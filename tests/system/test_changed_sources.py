"""A sharer whose file was overwritten: little memory, and one line."""

import os
from pathlib import Path

from tests.helpers.commands import peer_of, rss, run, share

SIZE = 96 << 20  # bytes
MORE = 32 << 10  # KiB that the sharer may use for refusing all of them


def test_refused_chunks_take_no_memory_and_one_line(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(SIZE)  # a hole: no disk is used
    with share(path, "--chunk-size", "256K") as source:
        link = source.wait_line("^shoal:").string
        before = rss(source)
        with path.open("r+b") as file:
            for offset in range(0, SIZE, 64 << 10):
                file.seek(offset)
                file.write(b"\1")
        words = ("get", link, "--peer", peer_of(source), "-o", tmp_path / "out")
        ended = run(*words, "--timeout", 5).finish(60)
        assert ended.code == 3
        assert "no longer has chunk" in ended.stderr
        assert rss(source) - before < MORE
        source.wait_line("was changed since it was shared", stream="err")
        assert source.stderr.count("not sent") == 1
    os.truncate(path, 0)
