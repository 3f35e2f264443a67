"""Sealed shares and what goes wrong with them: it says what, and harms nothing."""

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
from tests.helpers.commands import LOOPBACK, peer_of, run, share
from tests.helpers.process import Finished, Program
from tests.helpers.requirements import require

CHUNK = 16_384
SIZE = 40 * CHUNK + 5


class Shared:
    """A file that is shared, and how to fetch it."""

    def __init__(self, path: Path, program: Program) -> None:
        self.path = path
        self.program = program
        self.link = program.wait_line("^shoal:", stream="out").string
        self.peer = peer_of(program)
        self.content = path.read_bytes()

    def get(self, *args: object, link: str | None = None) -> Finished:
        """Fetch; return how it ended."""
        words = [link or self.link, "--peer", self.peer, *args]
        with run("get", *words) as program:
            return program.finish()


@pytest.fixture
def shared(make_file: MakeFile) -> Iterator[Shared]:
    path = make_file(SIZE, 4)
    with share(path, "--chunk-size", CHUNK) as program:
        yield Shared(path, program)


# The link.


@pytest.mark.parametrize("place", [6, 20, 57, 61])
def test_a_mistyped_link(place: int, shared: Shared, tmp_path: Path) -> None:
    other = "a" if shared.link[place] != "a" else "b"
    link = shared.link[:place] + other + shared.link[place + 1 :]
    ended = shared.get("-o", tmp_path / "out", link=link)
    assert ended.code == 2
    assert "mistyped" in ended.stderr
    assert link[6:30] not in ended.stderr


@pytest.mark.parametrize(("cut", "added"), [(1, ""), (30, ""), (0, "a"), (0, "7777")])
def test_a_link_of_another_length(
    cut: int, added: str, shared: Shared, tmp_path: Path
) -> None:
    link = shared.link[: len(shared.link) - cut] + added
    ended = shared.get("-o", tmp_path / "out", link=link)
    assert ended.code == 2
    assert f"{56 - cut + len(added)} characters" in ended.stderr


def test_two_neighbours_swapped(shared: Shared, tmp_path: Path) -> None:
    link = shared.link
    place = next(i for i in range(10, 40) if link[i] != link[i + 1])
    swapped = link[:place] + link[place + 1] + link[place] + link[place + 2 :]
    ended = shared.get("-o", tmp_path / "out", link=swapped)
    assert ended.code == 2
    assert "mistyped" in ended.stderr


def test_capitals_and_spaces_around_a_link_do_not_matter(
    shared: Shared, tmp_path: Path
) -> None:
    link = f"  {shared.link.upper()} "
    assert shared.get("-o", tmp_path / "out", link=link).code == 0


def test_a_link_that_nobody_has(shared: Shared, tmp_path: Path) -> None:
    """Who asks a node for another share than it has gets no answer."""
    with share(shared.path, "--new-link") as other:
        link = other.wait_line("^shoal:", stream="out").string
    assert link != shared.link
    ended = shared.get("-o", tmp_path / "out", "--timeout", 1, link=link)
    assert ended.code == 3
    assert not (tmp_path / "out").exists()


# The target.


def test_a_target_that_is_there(shared: Shared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for content in (b"mine", shared.content):
        out.write_bytes(content)
        ended = shared.get("-o", out)
        assert ended.code == 6
        assert out.read_bytes() == content
    out.write_bytes(b"mine")
    assert shared.get("-o", out, "--seed").code == 6
    assert out.read_bytes() == b"mine"
    assert shared.get("-o", out, "-f").code == 0
    assert out.read_bytes() == shared.content


def test_a_target_under_its_own_name_that_is_there(
    shared: Shared, tmp_path: Path
) -> None:
    (tmp_path / "into").mkdir()
    out = tmp_path / "into" / shared.path.name
    out.symlink_to(tmp_path / "elsewhere")
    assert shared.get("-C", tmp_path / "into").code == 6
    assert not (tmp_path / "elsewhere").exists()
    assert os.listdir(tmp_path / "into") == [shared.path.name]


def test_a_second_get_on_one_target_says_so_and_leaves(
    make_file: MakeFile, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    path = make_file(SIZE, 5)
    limited = ("--chunk-size", CHUNK, "--limit-up", "200K")
    with share(path, *limited) as program:
        slow = Shared(path, program)
        args = (slow.link, "-o", out, "--peer", slow.peer)
        with run("get", *args, "--json") as first:
            first.wait_line('"progress"')
            ended = slow.get("-o", out)
            assert ended.code == 1
            assert f"Another shoal is already downloading to {out}" in ended.stderr
            assert first.finish().code == 0
    assert out.read_bytes() == slow.content


# The source.


def test_a_chunk_edited_while_shared_is_never_sent(
    shared: Shared, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with shared.path.open("r+b") as file:
        file.seek(5 * CHUNK + 100)
        file.write(b"edited")
    ended = shared.get("-o", out, "--timeout", 3, "--json")
    assert ended.code == 7, ended.stderr
    assert not out.exists()
    assert states(ended) <= {"joined", "left"}, "the sharer was taken for a liar"
    assert fetched(ended) == SIZE - CHUNK
    shared.path.write_bytes(shared.content)
    ended = shared.get("-o", out, "--json")
    assert ended.code == 0, ended.stderr
    assert out.read_bytes() == shared.content


def test_a_source_truncated_while_shared(shared: Shared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    os.truncate(shared.path, 10 * CHUNK + 7)
    ended = shared.get("-o", out, "--timeout", 3, "--json")
    assert ended.code == 7, ended.stderr
    assert states(ended) <= {"joined", "left"}
    assert fetched(ended) == 10 * CHUNK
    assert shared.program.running


def test_a_source_that_has_gone(shared: Shared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shared.path.unlink()
    ended = shared.get("-o", out, "--timeout", 2)
    # The sharer may still have the file open; then it arrives.
    assert ended.code in (0, 3, 7), ended.stderr
    if ended.code == 0:
        assert out.read_bytes() == shared.content
    assert shared.program.running


def states(ended: Finished) -> set[str]:
    """Return what became of peers, in what a `get --json` said."""
    return {str(e["state"]) for e in _events(ended) if e["event"] == "peer"}


def fetched(ended: Finished) -> int:
    """Return how many bytes were verified, in what a `get --json` said."""
    return max(int(e["done"]) for e in _events(ended) if e["event"] == "progress")


def _events(ended: Finished) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.stdout.splitlines()]


# The disk.


def test_a_folder_one_may_not_write_to(shared: Shared, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    words = [sys.executable, "-m", "shoal", "get", shared.link, "-C", str(folder)]
    words += ["--peer", shared.peer]
    if os.geteuid() == 0:
        require(None if shutil.which("setpriv") else "setpriv is not installed")
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]
    with Program(words, env={**os.environ, **LOOPBACK}) as program:
        ended = program.finish()
    assert ended.code == 4, ended.stderr
    assert not list(folder.iterdir())


# On a disk that is too small, then on one with room.
_TOO_SMALL = """
mount -t tmpfs -o size=300k tmpfs {folder} || exit 99
{command}; echo code $?
ls -A {folder} | wc -l
mount -o remount,size=16m {folder}
{command}; echo code $?
cmp {folder}/out {source} && echo same
"""
# On a disk that somebody else fills in the middle, then with room again.
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

# On a disk with room for the data and not for all of the journal, then with more.
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
    """Run a script in which {command} fetches to a disk of its own at {folder}."""
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


def test_no_space_half_way_keeps_what_was_verified(
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
    """Each page has room for 500 records; the data's room is reserved already."""
    folder = tmp_path / "disk"
    folder.mkdir()
    path = make_file(1100 * CHUNK, 6)
    size = path.stat().st_size + pages * 4096
    with share(path, "--chunk-size", CHUNK) as program:
        ended = on_disk(_NO_JOURNAL, Shared(path, program), folder, size)
    first, second, there, resumed, *rest = ended.stdout.decode().split("\n")
    assert (first, second) == ("code 9", "code 9"), ended.stderr
    assert int(there) == (1 if pages else 0), "what was verified is not kept"
    number = int(resumed.removeprefix('"resumed":'))
    assert number >= 300 * pages
    assert rest[:2] == ["same", "out"]
    assert "full" in ended.stderr
