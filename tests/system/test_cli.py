"""The commands of an open channel, as a user or a script runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import LOOPBACK, link_of, peer_of, run, share, share_open
from tests.helpers.wire import Content

CONTENT = Content.make(50_000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT.data)
    return path


def test_share_prints_only_the_id_and_does_so_at_once(source: Path) -> None:
    with run("share", source, "--open") as program:
        program.wait_line(rf"^{CONTENT.id}$", stream="out")
        program.wait_line("Ctrl-C", stream="err")
        program.send(2)
        ended = program.finish()
    assert ended.stdout.decode() == f"{CONTENT.id}\n"


def test_share_of_a_named_channel_prints_its_name_and_warns(source: Path) -> None:
    with run("share", source, "--open", "a name") as program:
        program.wait_line(r"^a name$", stream="out")
        program.wait_line("neither encrypted nor verified", stream="err")


def test_get_prints_only_the_path(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with share_open(source) as server:
        args = (CONTENT.id, "-o", target, "--peer", peer_of(server))
        ended = run("get", *args).finish()
    assert (ended.code, ended.stdout.decode()) == (0, f"{target}\n")
    assert target.read_bytes() == CONTENT.data
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out"}


def test_get_of_a_named_channel_warns_that_it_is_not_verified(
    source: Path, tmp_path: Path
) -> None:
    with share_open(source, "team") as server:
        args = ("team", "-o", tmp_path / "out", "--peer", peer_of(server))
        ended = run("get", *args, "-q").finish()
    assert ended.code == 0
    assert (tmp_path / "out").read_bytes() == CONTENT.data
    first = ended.stderr.splitlines()[0]
    assert first.startswith("shoal: team is the name of an open channel, which is neit")


def test_options_may_stand_before_and_after_the_command(
    source: Path, tmp_path: Path
) -> None:
    with share_open(source) as server:
        peer = peer_of(server)
        for words in (
            ["--peer", peer, "-q", "get", CONTENT.id, "-o", tmp_path / "1"],
            ["-q", f"--peer={peer}", "get", "-o", tmp_path / "2", CONTENT.id],
            ["get", "-o", tmp_path / "3", CONTENT.id, "-q", "--peer", peer],
        ):
            assert run(*words).finish().code == 0
    assert {"1", "2", "3"} <= {path.name for path in tmp_path.iterdir()}


def test_a_link_may_come_from_a_variable(source: Path, tmp_path: Path) -> None:
    with share_open(source) as server:
        env = {"SHOAL_LINK": CONTENT.id, "SHOAL_PEER": peer_of(server)}
        assert run("get", "-o", tmp_path / "out", env=env).finish().code == 0
        assert run("chunk", 3, env=env).finish().stdout == CONTENT.chunk(3)
    assert (tmp_path / "out").read_bytes() == CONTENT.data


def test_every_command_takes_its_link_from_a_variable_or_standard_input(
    source: Path, tmp_path: Path
) -> None:
    with share(source) as server:
        link = link_of(server)
        env = {"SHOAL_PEER": peer_of(server)}
        commands = (
            ["get", "-o", tmp_path / "out"],
            ["verify", source],
            ["cat"],
            ["ls"],
            ["info"],
            ["chunk", 0],
        )
        for name, *rest in commands:
            rest.append("-q")
            with run(name, *rest, env={**env, "SHOAL_LINK": link}) as program:
                ended = program.finish()
                assert (ended.code, ended.stderr) == (0, "")
            (tmp_path / "out").unlink(missing_ok=True)
            program = run(name, "-", *rest, env=env, has_input=True)
            with program:
                program.write_line(link)
                typed = program.finish()
            assert (typed.code, typed.stdout) == (0, ended.stdout)
            (tmp_path / "out").unlink(missing_ok=True)
        words = ("cat", "source", "--no-progress")
        with run(*words, env={**env, "SHOAL_LINK": link}) as program:
            assert program.finish().stdout == CONTENT.data


def test_a_link_may_come_from_standard_input(source: Path) -> None:
    with share_open(source) as server:
        words = ["chunk", "-", "2", "--peer", peer_of(server)]
        ended = subprocess.run(
            [sys.executable, "-m", "shoal", *words],
            input=f"{CONTENT.id}\n".encode(),
            capture_output=True,
            env={**os.environ, **LOOPBACK},
            timeout=30,
        )
    assert ended.stdout == CONTENT.chunk(2)


def test_quiet_prints_nothing_on_success(source: Path, tmp_path: Path) -> None:
    with run("share", source, "--open", "-q", "--json") as server:
        line = server.wait_line(r"^\{.*\}$", stream="out")[0]
        peer = f"127.0.0.1:{json.loads(line)['port']}"
        args = (CONTENT.id, "-o", tmp_path / "out", "--peer", peer, "-q")
        ended = run("get", *args).finish()
        assert (ended.code, ended.stderr, server.stderr) == (0, "", "")


def test_get_and_chunk_write_to_standard_output(source: Path, tmp_path: Path) -> None:
    with share_open(source) as server:
        args = (CONTENT.id, "-o", "-", "--peer", peer_of(server))
        assert run("get", *args, cwd=tmp_path).finish().stdout == CONTENT.data
        with run("chunk", CONTENT.id, "48", "--peer", peer_of(server)) as program:
            assert program.finish().stdout == CONTENT.chunk(48)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_channel_in_a_folder_is_named_by_the_start_of_its_id(
    source: Path, tmp_path: Path
) -> None:
    with share_open(source) as server:
        args = (CONTENT.id, "-C", tmp_path, "--peer", peer_of(server))
        assert run("get", *args).finish().code == 0
    assert (tmp_path / CONTENT.id[:8]).read_bytes() == CONTENT.data


@pytest.mark.parametrize("existing", [None, CONTENT.data])
def test_seed_serves_a_new_download_and_an_existing_file(
    existing: bytes | None, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    if existing is not None:
        target.write_bytes(existing)
    with share_open(source) as server:
        args = (CONTENT.id, "-o", target, "--peer", peer_of(server), "--seed")
        with run("get", *args) as seed:
            seed.wait_line(r"Sharing .* on port", stream="err")
            server.kill()
            second = (CONTENT.id, "-o", tmp_path / "2", "--peer", peer_of(seed))
            assert run("get", *second).finish().code == 0
            seed.send(15)
            assert seed.finish().code == 143
    assert (tmp_path / "2").read_bytes() == CONTENT.data


@pytest.mark.parametrize("size", [0, 50_000, 60_000])
def test_seed_refuses_an_existing_file_with_other_content(
    size: int, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.write_bytes(bytes(size))
    with share_open(source) as server:
        args = (CONTENT.id, "-o", target, "--peer", peer_of(server), "--seed")
        ended = run("get", *args).finish()
    assert ended.code == 6
    assert "is not this share" in ended.stderr
    assert target.read_bytes() == bytes(size)


@pytest.mark.parametrize("name", [[], ["team"]], ids=["hash", "named"])
def test_an_empty_file_can_be_shared_and_downloaded(
    name: list[str], tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    with share_open(tmp_path / "empty", *name) as server:
        channel = server.wait_line(r"^\S+$", stream="out")[0]
        args = (channel, "-o", tmp_path / "out", "--peer", peer_of(server))
        assert run("get", *args).finish().code == 0
        with run("chunk", channel, 0, "--peer", peer_of(server)) as program:
            ended = program.finish()
            assert (ended.code, "empty" in ended.stderr) == (2, True)
    assert (tmp_path / "out").read_bytes() == b""


def test_version_and_help_are_printed() -> None:
    assert run("--version").finish().stdout.startswith(b"shoal 0.")
    for words in (["--help"], ["get", "-h"], ["share", "--help"], ["chunk", "-h"]):
        ended = run(*words).finish()
        assert (ended.code, b"Usage: shoal" in ended.stdout) == (0, True)
    alone = run().finish()
    assert (alone.code, alone.stderr) == (0, "")
    assert alone.stdout == run("--help").finish().stdout


def test_get_ends_quietly_when_the_reader_of_its_output_leaves(source: Path) -> None:
    with share_open(source) as server:
        words = ["get", CONTENT.id, "-o", "-", "--peer", peer_of(server)]
        line = [sys.executable, "-m", "shoal", *words]
        process = subprocess.Popen(
            line,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **LOOPBACK},
        )
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (141, b"")
