"""Faults of links, targets, sources and disks: a clear error and no damage."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import LOOPBACK, Shared, link_of, run, share
from tests.helpers.process import Finished, Program
from tests.helpers.requirements import require

CHUNK = 16_384
MANIFEST_PAGES = 9  # of 4 KiB on the disk, for the hashes of 1,100 chunks
SIZE = 40 * CHUNK + 5


@pytest.fixture
def shared(make_file: MakeFile) -> Iterator[Shared]:
    path = make_file(SIZE, 4)
    with share(path, "--chunk-size", CHUNK) as program:
        yield Shared(path, program)


def test_a_link_that_no_peer_has(shared: Shared, tmp_path: Path) -> None:
    """A node does not answer requests for a share that it does not have."""
    with share(shared.path, "--new-link") as other:
        link = link_of(other)
    assert link != shared.link
    args = (link, "-o", tmp_path / "out", "--timeout", 1, "--peer", shared.peer)
    with run("get", *args) as program:
        ended = program.finish()
    assert ended.code == 3
    assert not (tmp_path / "out").exists()


# The target.


def test_an_existing_target_is_only_replaced_with_force(
    shared: Shared, tmp_path: Path
) -> None:
    out, shared_bytes = tmp_path / "out", shared.path.read_bytes()
    for content in (b"mine", shared_bytes):
        out.write_bytes(content)
        ended = shared.do("get", "-o", out)
        assert ended.code == 6
        assert out.read_bytes() == content
    out.write_bytes(b"mine")
    assert shared.do("get", "-o", out, "--seed").code == 6
    assert out.read_bytes() == b"mine"
    assert shared.do("get", "-o", out, "-f").code == 0
    assert out.read_bytes() == shared_bytes


def test_an_existing_folder_is_never_said_to_be_replaceable(
    shared: Shared, tmp_path: Path
) -> None:
    out = tmp_path / "folder"
    out.mkdir()
    said = set()
    for more in ((), ("-f",), ("--include", "*"), ("--include", "*", "-f")):
        ended = shared.do("get", "-o", out, *more)
        assert ended.code == 6
        said.add(ended.stderr)
    (text,) = said
    assert "a folder is never replaced" in text
    assert "-f" not in text


def test_a_dangling_link_counts_as_an_existing_target(
    shared: Shared, tmp_path: Path
) -> None:
    (tmp_path / "into").mkdir()
    out = tmp_path / "into" / shared.path.name
    out.symlink_to(tmp_path / "elsewhere")
    assert shared.do("get", "-C", tmp_path / "into").code == 6
    assert not (tmp_path / "elsewhere").exists()
    assert os.listdir(tmp_path / "into") == [shared.path.name]


# The source.


def test_a_chunk_edited_while_shared_is_never_sent(
    shared: Shared, tmp_path: Path
) -> None:
    out, content = tmp_path / "out", shared.path.read_bytes()
    with shared.path.open("r+b") as file:
        file.seek(5 * CHUNK + 100)
        file.write(b"edited")
    ended = shared.do("get", "-o", out, "--timeout", 3, "--json")
    assert ended.code == 7, ended.stderr
    assert not out.exists()
    assert states(ended) <= {"joined", "complete", "left"}, "the sharer was banned"
    assert fetched(ended) == SIZE - CHUNK
    shared.path.write_bytes(content)
    ended = shared.do("get", "-o", out, "--json")
    assert ended.code == 0, ended.stderr
    assert out.read_bytes() == content


def test_a_source_truncated_while_shared(shared: Shared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    os.truncate(shared.path, 10 * CHUNK + 7)
    ended = shared.do("get", "-o", out, "--timeout", 3, "--json")
    assert ended.code == 7, ended.stderr
    assert states(ended) <= {"joined", "complete", "left"}
    assert fetched(ended) == 10 * CHUNK
    assert "no longer has chunk" in ended.stderr
    assert "answered" not in ended.stderr
    assert shared.program.running
    # One line for the file, however many chunks were refused.
    line = f"{shared.path} was truncated since it was shared"
    shared.program.wait_line(line, stream="err")
    assert shared.program.stderr.count(line) == 1
    assert shared.program.stderr.count("not sent") == 1


def test_a_deleted_source(shared: Shared, tmp_path: Path) -> None:
    out, content = tmp_path / "out", shared.path.read_bytes()
    shared.path.unlink()
    ended = shared.do("get", "-o", out, "--timeout", 2)
    # If the sharer still has the file open, the download succeeds.
    assert ended.code in (0, 3, 7), ended.stderr
    if ended.code == 0:
        assert out.read_bytes() == content
    assert shared.program.running


def states(ended: Finished) -> set[str]:
    """Return the states of peers that a `get --json` reported."""
    return {str(e["state"]) for e in _events(ended) if e["event"] == "peer"}


def fetched(ended: Finished) -> int:
    """Return the verified bytes that a `get --json` reported."""
    return max(int(e["done"]) for e in _events(ended) if e["event"] == "progress")


def _events(ended: Finished) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


# The disk.


# A disk that is too small, then one with room.
_TOO_SMALL = """
mount -t tmpfs -o size=300k tmpfs {folder} || exit 99
{command}; echo code $?
ls -A {folder} | wc -l
mount -o remount,size=16m {folder}
{command}; echo code $?
cmp {folder}/out {source} && echo same
"""
# A disk that another program fills during the download, then one with room.
_FILLING = """
mount -t tmpfs -o size=24m tmpfs {folder} || exit 99
{command} --limit-down 3M & get=$!
until [ "$(stat -c %b {folder}/.*/data 2>/dev/null || echo 0)" -ge 32768 ] &&
    [ "$(stat -c %b {folder}/.*/journal)" -gt 0 ]; do sleep 0.02; done
cat /dev/zero > {folder}/filler 2>/dev/null
wait $get; echo code $?
rm {folder}/filler
{command}; echo code $?
cmp {folder}/out {source} && echo same
ls -A {folder}
"""

# A disk with room for the data but not for the whole journal, then one with room.
_NO_JOURNAL = """
mount -t tmpfs -o size={size} tmpfs {folder} || exit 99
{command}; echo code $?
{command}; echo code $?
ls -A {folder} | wc -l
mount -o remount,size=32m {folder}
{command} --json | grep -o '"resumed":[0-9]*'
cmp {folder}/out {source} && echo same
ls -A {folder}
"""


def on_disk(script: str, shared: Shared, folder: Path, size: object = None) -> Finished:
    """Run a script in which {command} fetches to a small disk at {folder}."""
    require(None if os.geteuid() == 0 else "only root may mount a small disk")
    require(None if shutil.which("unshare") else "unshare is not installed")
    words = ["get", shared.link, "-o", f"{folder}/out", "--peer", shared.peer]
    command = shlex.join([sys.executable, "-m", "shoal", *words])
    script = script.format(
        folder=folder, command=command, source=shared.path, size=size
    )
    line = ["unshare", "--mount", "sh", "-c", script]
    with Program(line, env={**os.environ, **LOOPBACK}) as program:
        ended = program.finish(40)
    require("no tmpfs may be mounted here" if ended.code == 99 else None)
    return ended


def test_no_space_at_the_start(shared: Shared, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    ended = on_disk(_TOO_SMALL, shared, folder)
    lines = ended.stdout.decode().split("\n")
    assert lines[0] == "code 9", ended.stderr
    assert lines[1].strip() == "0"
    assert lines[-3:-1] == ["code 0", "same"]
    assert "disk is too full" in ended.stderr


def test_no_space_half_way_keeps_the_verified_chunks(
    make_file: MakeFile, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    path = make_file(1024 * CHUNK, 6)
    with share(path, "--chunk-size", CHUNK) as program:
        ended = on_disk(_FILLING, Shared(path, program), folder)
    lines = ended.stdout.decode().split("\n")
    assert lines[0] == "code 9", ended.stderr
    assert "full" in ended.stderr
    assert "Resuming: " in ended.stderr
    assert lines[2:5] == ["code 0", "same", "out"], lines


@pytest.mark.parametrize("pages", [0, 1, 2])
def test_no_space_for_the_journal_alone(
    pages: int, make_file: MakeFile, tmp_path: Path
) -> None:
    """Each page has room for 500 records; all other room is reserved or used."""
    folder = tmp_path / "disk"
    folder.mkdir()
    path = make_file(1100 * CHUNK, 6)
    size = path.stat().st_size + (MANIFEST_PAGES + pages) * 4096
    with share(path, "--chunk-size", CHUNK) as program:
        ended = on_disk(_NO_JOURNAL, Shared(path, program), folder, size)
    first, second, there, resumed, *rest = ended.stdout.decode().split("\n")
    assert (first, second) == ("code 9", "code 9"), ended.stderr
    assert int(there) == (1 if pages else 0), "verified chunks were not kept"
    number = int(resumed.removeprefix('"resumed":'))
    assert number >= 300 * pages
    assert rest[:2] == ["same", "out"]
    assert "full" in ended.stderr
