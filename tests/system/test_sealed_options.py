"""The effects of the commands that take a link, and of their options."""

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import LOOPBACK, Shared, link_of, peer_of, run, share
from tests.helpers.process import Program
from tests.helpers.programs import shoal
from tests.helpers.terminal import Terminal

CHUNK = 16_384
SIZE = 20 * CHUNK + 5


@pytest.fixture
def file(make_file: MakeFile) -> Iterator[Shared]:
    path = make_file(SIZE, 4)
    with share(path, "--chunk-size", CHUNK) as program:
        yield Shared(path, program)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Shared]:
    path = tmp_path / "things"
    (path / "sub").mkdir(parents=True)
    (path / "notes").write_bytes(b"some notes")
    (path / "sub" / "run").write_bytes(b"#!/bin/sh\n")
    (path / "sub" / "run").chmod(0o755)
    with share(path) as program:
        yield Shared(path, program)


# Looking at a share.


def test_ls_lists_the_files(folder: Shared) -> None:
    lines = folder.do("ls").stdout.decode().splitlines()
    assert [line.split() for line in lines] == [
        ["10", "-", "notes"],
        ["10", "x", "sub/run"],
    ]


def test_info_describes_the_share(folder: Shared, file: Shared) -> None:
    said = folder.do("info").stdout.decode()
    for words in (["name", "things"], ["kind", "folder"], ["files", "2"]):
        assert words in [line.split() for line in said.splitlines()]
    event = json.loads(file.do("info", "--json").stdout)
    assert (event["name"], event["size"]) == (file.path.name, SIZE)
    assert (event["chunks"], event["public"]) == (21, False)


def test_verify_finds_differences(folder: Shared, tmp_path: Path) -> None:
    assert folder.do("verify", folder.path).code == 0
    (folder.path / "notes").write_bytes(b"some n0tes")
    ended = folder.do("verify", folder.path)
    assert ended.code == 5
    assert "does not match the link" in ended.stderr
    assert folder.do("verify", tmp_path / "nowhere").code in (1, 2)


def test_cat_writes_a_file_or_a_range_of_it(folder: Shared, file: Shared) -> None:
    assert folder.do("cat", "notes").stdout == b"some notes"
    assert folder.do("cat", "sub/run", "-r", "2-5").stdout == b"/bin"
    assert folder.do("cat", "nowhere").code == 3
    content = file.path.read_bytes()
    assert file.do("cat").stdout == content
    assert file.do("cat", "-r", "-5").stdout == content[-5:]


def test_chunk_writes_one_chunk(file: Shared) -> None:
    content = file.path.read_bytes()
    assert file.do("chunk", 3).stdout == content[3 * CHUNK : 4 * CHUNK]
    assert file.do("chunk", 20).stdout == content[20 * CHUNK :]
    ended = file.do("chunk", 21)
    assert ended.code == 2
    assert "0 to 20" in ended.stderr


# Sharing.


def test_patterns_for_a_single_file_are_said_to_have_no_effect(
    file: Shared, make_file: MakeFile, tmp_path: Path
) -> None:
    ended = file.do("get", "-o", tmp_path / "out", "--include", "no-such-name")
    assert ended.code == 0
    assert ended.stderr.count("so they have no effect") == 1
    with share(make_file(5, 1), "--exclude", "*.tmp") as program:
        assert len(program.find("so they have no effect")) == 1


def test_once_ends_when_a_peer_is_complete(make_file: MakeFile, tmp_path: Path) -> None:
    path = make_file(SIZE, 4)
    with run("share", path, "--once") as program:
        program.wait_line("on port", stream="err")
        once = Shared(path, program)
        assert once.do("ls").code == 0
        assert once.do("get", "-o", tmp_path / "out").code == 0
        ended = program.finish()
    assert ended.code == 0
    assert (tmp_path / "out").read_bytes() == path.read_bytes()


def test_qr_draws_the_link_next_to_its_text(make_file: MakeFile) -> None:
    with share(make_file(5, 1), "--qr") as program:
        program.wait_line("^shoal:", stream="out")
        assert "█" in program.stderr or "▀" in program.stderr
        assert len(program.find("^shoal:[a-z2-7]{56}$")) == 1


@pytest.mark.parametrize("columns", [36, 40])
def test_a_qr_code_is_drawn_whole_or_not_at_all(columns: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    env = {"XDG_DATA_HOME": str(tmp_path / "home")}
    words = ("shoal", "share", "x", "--qr")
    with Terminal(*words, columns=columns, cwd=tmp_path, env=env) as terminal:
        terminal.wait_screen(".*waiting for peers")
        said = " ".join(terminal.screen)
        rows = [line for line in terminal.screen if "\u2588" in line]
    assert len({len(line) for line in rows}) == (columns == 40)
    assert ("needs 37 columns and has 36" in said) is (columns == 36)


def test_qr_names_its_missing_package(make_file: MakeFile, tmp_path: Path) -> None:
    (tmp_path / "segno.py").write_text("raise ImportError")
    path = make_file(5, 1)
    with run("share", path, "--qr", env={"PYTHONPATH": str(tmp_path)}) as program:
        ended = program.finish()
    assert ended.code == 2
    assert "shoal[qr]" in ended.stderr


def test_sharing_again_prints_the_same_link_except_with_new_link(
    make_file: MakeFile,
) -> None:
    path = make_file(SIZE, 4)
    links = []
    for options in ((), (), ("--public",), ("--public",), ("--new-link",), ()):
        with share(path, *options) as program:
            links.append(link_of(program))
    assert links[0] == links[1]
    assert links[2] == links[3]
    # The new link stays: the old one may have leaked.
    assert links[4] == links[5]
    assert len(set(links)) == 3


# Fetching.


def test_addresses_in_a_link_work_without_discovery(
    file: Shared, tmp_path: Path
) -> None:
    hinted = f"{file.link}?peer=127.0.0.1:9&peer={file.peer}"
    with run("get", hinted, "-o", tmp_path / "out") as program:
        assert program.finish().code == 0
    assert (tmp_path / "out").read_bytes() == file.path.read_bytes()


def test_an_address_in_a_link_cannot_name_this_machine(
    file: Shared, tmp_path: Path
) -> None:
    """It can if SHOAL_INTERFACES names the interface, as in the test above."""
    hinted = f"{file.link}?peer={file.peer}"
    alone = ("--no-lan", "--lan-only", "--timeout", 1)
    with shoal("get", hinted, "-o", tmp_path / "out", *alone) as program:
        assert program.finish().code == 3


def test_seed_for_ends_in_time(file: Shared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = file.do("get", "-o", out, "--seed-for", "1s")
    assert ended.code == 0
    assert "The time of --seed-for is over" in ended.stderr
    assert out.read_bytes() == file.path.read_bytes()


@pytest.mark.parametrize("exists", [False, True])
def test_seed_serves_a_new_download_and_an_existing_file(
    exists: bool, file: Shared, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    if exists:
        assert file.do("get", "-o", out).code == 0
        os.utime(out, (1, 1))
    with run("get", file.link, "-o", out, "--seed", "--peer", file.peer) as seeding:
        peer = peer_of(seeding)
        file.program.kill()
        again = ("get", file.link, "-o", tmp_path / "again", "--peer", peer)
        with run(*again) as program:
            assert program.finish().code == 0
    assert (tmp_path / "again").read_bytes() == file.path.read_bytes()
    assert (out.stat().st_mtime == 1) is exists, "an existing file must stay unchanged"


# Other users of this machine.


def test_a_link_can_be_kept_from_other_users(
    make_file: MakeFile, tmp_path: Path
) -> None:
    """It appears neither in the list of processes nor in messages."""
    path = make_file(SIZE, 4)
    with share(path, "-v", "--chunk-size", CHUNK, "--limit-up", "200K") as program:
        shared = Shared(path, program)
        secret = shared.link.removeprefix("shoal:")
        words = ["get", "-", "-o", str(tmp_path / "out"), "-v", "--peer", shared.peer]
        argv = [sys.executable, "-m", "shoal", *words]
        with Program(argv, env={**os.environ, **LOOPBACK}, has_input=True) as getting:
            getting.write_line(shared.link)
            getting.wait_line("Connected to", stream="err")
            command = Path(f"/proc/{getting.pid}/cmdline").read_bytes()
            assert secret[:20].encode() not in command
            getting.send(15)
            ended = getting.finish()
        with run("get", env={"SHOAL_LINK": shared.link}) as unsaid:
            command = Path(f"/proc/{unsaid.pid}/cmdline").read_bytes()
            assert secret[:20].encode() not in command
    assert "Run this again to resume: shoal get - -o" in ended.stderr
    for said in (ended.stderr, program.stderr):
        assert secret[:20] not in said.lower()


def test_files_of_a_running_download_are_private(
    make_file: MakeFile, tmp_path: Path
) -> None:
    home, into = tmp_path / "home", tmp_path / "into"
    into.mkdir()
    env = {"XDG_DATA_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    path = make_file(SIZE, 4)
    os.utime(path, (1, 1))
    limited = ("--chunk-size", CHUNK, "--limit-up", "200K")
    with run("share", path, *limited, env=env) as program:
        program.wait_line("Ctrl-C", stream="err")
        shared = Shared(path, program)
        words = ("get", shared.link, "-C", into, "--peer", shared.peer, "--json")
        with run(*words, env=env) as getting:
            getting.wait_line('"progress","done":[1-9]')
            private = [*into.rglob("*"), *home.rglob("*")]
            assert any(each.name == "journal" for each in private)
            assert any(each.name == "secret" for each in private)
            modes = {each: stat.S_IMODE(each.lstat().st_mode) for each in private}
    for each, mode in modes.items():
        assert mode & 0o077 == 0, f"{each} has the mode {mode:o}"


def test_share_says_that_a_hidden_name_needs_another(tmp_path: Path) -> None:
    (tmp_path / ".profile").write_bytes(b"x")
    with share(tmp_path / ".profile") as sharer:
        sharer.wait_line(
            "receivers must choose another one with -o OUT, unless", stream="err"
        )
