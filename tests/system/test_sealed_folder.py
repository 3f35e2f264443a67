"""Folders arrive as they were shared, with the real command."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.commands import link_of, peer_of, run, share
from tests.helpers.folders import list_folder, make_folder
from tests.helpers.process import Finished

UNICODE = {
    "naïve café/crème brûlée.txt": b"accents",
    "日本語/漢字/ひらがな.bin": bytes(range(256)) * 300,
    "emoji 🐟/🐠🐡/school of fish 🎏": b"glub" * 9000,
    "Ελληνικά/αβγ": b"",
    "with 'quotes' and $HOME %s & more.txt": b"x" * 70_000,
    "deep/deeper/deepest.sh": b"#!/bin/sh\nexit 0\n",
    "deep/deeper/notes.md": b"notes",
    "run me": b"#!/bin/sh\n",
}
EXECUTABLE = ("deep/deeper/deepest.sh", "run me")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "Sündry — things"
    for name, content in UNICODE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in EXECUTABLE:
        (folder / name).chmod(0o755)
    return folder


@contextmanager
def shared(folder: Path, *args: object) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Share a folder; yield the messages of `share` and the arguments to fetch it."""
    with share(folder, *args) as program:
        link = link_of(program)
        yield program.stderr, (link, "--peer", peer_of(program))


def get(*args: object) -> Finished:
    """Run `get` to its end."""
    return run("get", *args).finish(60)


def test_names_of_all_kinds_arrive_in_a_folder_with_the_shared_name(
    source: Path, tmp_path: Path
) -> None:
    with shared(source) as (_, link):
        ended = get(*link, "-C", tmp_path / "..", "-o", tmp_path / "no")
        assert ended.code == 2
        (tmp_path / "into").mkdir()
        ended = get(*link, "-C", tmp_path / "into", "--keep-exec")
    assert ended.code == 0, ended.stderr
    arrived = tmp_path / "into" / source.name
    assert ended.stdout.decode() == f"{arrived}\n"
    assert list_folder(arrived) == list_folder(source)
    assert os.listdir(tmp_path / "into") == [source.name]


def test_without_keep_exec_nothing_is_executable(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with shared(source) as (_, link):
        assert get(*link, "-o", out).code == 0
    arrived = list_folder(out)
    assert not any(entry.is_executable for entry in arrived)
    assert [e[:2] for e in arrived] == [e[:2] for e in list_folder(source)]
    for path in (out, *out.rglob("*")):
        mode = path.stat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)


def test_links_and_special_files_are_skipped_and_reported(
    source: Path, tmp_path: Path
) -> None:
    expected = list_folder(source)
    (source / "passwords").symlink_to("/etc/passwd")
    (source / "deep" / "around").symlink_to("..")
    os.mkfifo(source / "deep" / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(source / "socket"))
        with shared(source) as (said, link):
            assert get(*link, "-o", tmp_path / "out", "--keep-exec").code == 0
    for name in ("passwords", "around", "fifo", "socket"):
        assert name in said, f"{name} was not reported"
    assert list_folder(tmp_path / "out") == expected


def test_share_leaves_out_files_by_pattern(source: Path, tmp_path: Path) -> None:
    options = ("--include", "*.txt", "--include", "deep", "--exclude", "**/deeper/*.md")
    with shared(source, *options) as (_, link):
        assert get(*link, "-o", tmp_path / "out").code == 0
    names = {entry.path for entry in list_folder(tmp_path / "out")}
    assert names == {
        "with 'quotes' and $HOME %s & more.txt",
        "deep/deeper/deepest.sh",
    }


def test_get_fetches_only_the_chunks_of_matching_files(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "source", 90, sizes=(40_000, 60_000))
    wanted = ("--include", "*/file-0000[3-5]", "--exclude", "**/*4")
    out = tmp_path / "out"
    with shared(source, "--chunk-size", "16K") as (_, link):
        ended = get(*link, "-o", out, *wanted, "--json")
    assert ended.code == 0
    arrived = list_folder(out)
    assert [entry.path[-2:] for entry in arrived] == ["03", "05"]
    assert set(arrived) <= set(list_folder(source))
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    size = sum(len(entry.content) for entry in arrived)
    fetched = max(e["done"] for e in events if e["event"] == "progress")
    # At most one chunk more at each end of each file.
    assert size <= fetched <= size + 2 * 2 * 16_384


def test_patterns_that_match_nothing_are_an_error(source: Path, tmp_path: Path) -> None:
    with shared(source) as (_, link):
        ended = get(*link, "-o", tmp_path / "out", "--include", "*.mp3")
    assert ended.code == 2
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_changed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_bytes(b"mine")
    into = tmp_path / "into" / source.name
    into.mkdir(parents=True)
    with shared(source) as (_, link):
        for target in (("-o", out), ("-o", out, "-f"), ("-C", into.parent)):
            ended = get(*link, *target)
            assert ended.code == 6, ended.stderr
            assert str(target[1]) in ended.stderr
        ended = get(*link, "-o", out, "--seed")
        assert ended.code == 6, ended.stderr
    assert [path.name for path in out.iterdir()] == ["mine"]
    assert not list(into.iterdir())


def test_a_file_is_not_replaced_by_a_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"mine")
    with shared(source) as (_, link):
        for options in ((), ("-f",)):
            assert get(*link, "-o", out, *options).code == 6
    assert out.read_bytes() == b"mine"


def test_seed_serves_an_existing_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with shared(source) as (_, link):
        assert get(*link, "-o", out, "--keep-exec").code == 0
        with run("get", *link, "-o", out, "--seed") as seeding:
            peer = peer_of(seeding)
            # The first sharer is gone.
            _fetch_from(link[0], peer, tmp_path / "again", source)


def _fetch_from(link: object, peer: str, out: Path, source: Path) -> None:
    ended = get(link, "-o", out, "--peer", peer, "--keep-exec")
    assert ended.code == 0
    assert list_folder(out) == list_folder(source)


def many_files_arrive(folder: Path, number: int) -> None:
    source = make_folder(folder / "source", number)
    with shared(source) as (_, link):
        assert get(*link, "-o", folder / "out", "--no-progress").code == 0
    assert list_folder(folder / "out") == list_folder(source)


def test_many_small_files(tmp_path: Path) -> None:
    many_files_arrive(tmp_path, 2000)


@pytest.mark.long
def test_twenty_thousand_small_files(tmp_path: Path) -> None:
    many_files_arrive(tmp_path, 20_000)
