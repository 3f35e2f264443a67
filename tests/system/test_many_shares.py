"""One node shares 10,000 files, and a new process serves them all again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from subprocess import PIPE
from typing import IO

import pytest

from shoal.transport.sealed.listen import MAX_SHARES
from tests.helpers.commands import run

SIZE = 20_000  # bytes of each file


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder, rng = tmp_path / "files", Random(1)
    folder.mkdir()
    paths = [folder / str(number) for number in range(MAX_SHARES)]
    for path in paths:
        path.write_bytes(rng.randbytes(SIZE))
    return paths


def read_shares(output: IO[str]) -> tuple[list[str], int]:
    """Read which links a process shares, and its port."""
    ready = [json.loads(output.readline()) for _ in range(MAX_SHARES)]
    return [each["link"] for each in ready], ready[-1]["port"]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_shares_are_served_and_served_again(
    files: list[Path], tmp_path: Path
) -> None:
    assert len(files) == 10_000
    home = {"XDG_DATA_HOME": str(tmp_path / "home")}
    # In processes of their own: with the checks of the tests, the loop takes longer.
    words = [sys.executable, "-m", "tests.helpers.member", "share", *map(str, files)]
    with subprocess.Popen(
        words, stdin=PIPE, stdout=PIPE, text=True, env={**os.environ, **home}
    ) as member:
        assert member.stdout is not None
        links, port = read_shares(member.stdout)
        fetch_ends(links, files, port, "shared")
        member.communicate()
    assert member.returncode == 0
    with run("seed", env=home) as program:
        line = program.wait_line(
            r"Sharing 10,000 shares on port (\d+)", 900, stream="err"
        )
        fetch_ends(links, files, int(line[1]), "seeded")


def fetch_ends(links: list[str], files: list[Path], port: int, name: str) -> None:
    """Fetch the first and the last share from a port, and compare them."""
    for link, path in ((links[0], files[0]), (links[-1], files[-1])):
        out = path.with_name(f"{path.name}-{name}")
        words = ("get", link, "-o", out, "--peer", f"127.0.0.1:{port}")
        assert run(*words).finish().code == 0
        assert out.read_bytes() == path.read_bytes()
