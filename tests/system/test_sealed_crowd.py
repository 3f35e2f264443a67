"""Eight simultaneous downloaders all upload, and the source sends little over one copy.

Each member is a process with a limited upload rate, so the source cannot serve all of
them.
"""

import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.process import Program

CROWD = 8
MAX_COPIES = 1.25  # copies that the source may send


@contextmanager
def member(limit: int, *args: object) -> Iterator[Program]:
    """Start a member of the swarm; see `tests.helpers.member`."""
    module = [sys.executable, "-m", "tests.helpers.member", "--limit-up", str(limit)]
    argv = [*module, *map(str, args)]
    with Program(argv, has_input=True) as program:
        yield program


def uploaded(program: Program) -> int:
    """End a member; return the bytes that it uploaded."""
    program.end_input()
    number = int(program.wait_line(r'"uploaded","bytes":(\d+)')[1])
    assert program.finish().code == 0
    return number


def crowd_fetches(source: Path, folder: Path, limit: int, within: float) -> None:
    """Let eight members fetch `source` at the same time; check uploads and files."""
    size = source.stat().st_size
    outs = [folder / f"out-{number}" for number in range(CROWD)]
    with ExitStack() as stack:
        sharing = stack.enter_context(member(limit, "share", source))
        ready = json.loads(sharing.wait_line('"ready"').string)
        peer = f"127.0.0.1:{ready['port']}"
        crowd = [
            stack.enter_context(member(limit, "fetch", ready["link"], out, peer))
            for out in outs
        ]
        for each in crowd:
            each.wait_line('"done"', within)
        assert uploaded(sharing) <= MAX_COPIES * size
        given = [uploaded(each) for each in crowd]
    assert all(given), given
    content = source.read_bytes()
    for out in outs:
        assert out.read_bytes() == content
        out.unlink()


def test_every_member_of_a_crowd_uploads(make_file: MakeFile, tmp_path: Path) -> None:
    crowd_fetches(make_file(16 << 20, 1), tmp_path, limit=5 << 19, within=30)


@pytest.mark.parametrize("downloaders", [4, 8])
def test_a_crowd_that_leaves_files_out_takes_little_over_one_copy(
    downloaders: int, tmp_path: Path
) -> None:
    source, limit = tmp_path / "source", 2 << 20
    rng = random.Random(3)
    source.mkdir()
    for name, size in (("a.bin", 6 << 20), ("b.tmp", 3 << 20), ("c.bin", 4 << 20)):
        (source / name).write_bytes(rng.randbytes(size))
    with ExitStack() as stack:
        sharing = stack.enter_context(
            member(limit, "--chunk-size", str(1 << 16), "share", source)
        )
        ready = json.loads(sharing.wait_line('"ready"').string)
        words = ("--exclude", "*.tmp", "fetch", ready["link"])
        peer = f"127.0.0.1:{ready['port']}"
        crowd = [
            stack.enter_context(member(limit, *words, tmp_path / str(number), peer))
            for number in range(downloaders)
        ]
        for each in crowd:
            each.wait_line('"done"', 60)
        assert uploaded(sharing) <= MAX_COPIES * (10 << 20)
        for each in crowd:
            uploaded(each)
    for number in range(downloaders):
        assert sorted(os.listdir(tmp_path / str(number))) == ["a.bin", "c.bin"]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_member_of_a_crowd_uploads_of_256_mib(
    make_file: MakeFile, tmp_path: Path
) -> None:
    # The parts differ only in their first bytes, which is enough to distinguish them.
    part = random.Random(2).randbytes(1 << 20)
    source = tmp_path / "source"
    with source.open("wb") as file:
        for number in range(256):
            file.write(number.to_bytes(8, "big") + part[8:])
    crowd_fetches(source, tmp_path, limit=20 << 20, within=200)
