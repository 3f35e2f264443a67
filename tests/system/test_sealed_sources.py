"""Shared files that change while they are hashed, read or sent.

`share` never sends bytes that differ from those that it hashed, and reports the change.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import link_of, peer_of, run, share, unprivileged
from tests.helpers.folders import list_folder

CHUNK = 16_384
SIZE = 150 * CHUNK + 77


def truncate(path: Path) -> None:
    os.truncate(path, 9 * CHUNK + 5)


def edit(path: Path) -> None:
    with path.open("r+b") as file:
        for place in range(0, SIZE, 3 * CHUNK):
            file.seek(place)
            file.write(b"edited")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(SIZE))
    other.replace(path)


@pytest.mark.parametrize("change", [truncate, edit, append, replace, Path.unlink])
def test_a_source_that_changes_half_way_is_reported_and_the_download_completes(
    change: Callable[[Path], None], make_file: MakeFile, tmp_path: Path
) -> None:
    """Two peers share the same file, and one of them edits it."""
    source, out = make_file(SIZE, 8), tmp_path / "out"
    content = source.read_bytes()
    copy = tmp_path / "copy" / source.name
    copy.parent.mkdir()
    copy.write_bytes(content)
    limits = ("--chunk-size", CHUNK, "--limit-up", "600K", "--public")
    with share(source, *limits) as changing, share(copy, *limits) as steady:
        link = link_of(changing)
        assert link_of(steady) == link
        peers = ["--peer", peer_of(changing), "--peer", peer_of(steady)]
        with run("get", link, "-o", out, *peers, "--json", "--timeout", 15) as getting:
            getting.wait_line('"progress","done":[1-9]')
            change(source)
            ended = getting.finish(40)
        assert ended.code == 0, ended.stderr
        assert out.read_bytes() == content
        states = {e["state"] for e in events(ended.stdout) if e["event"] == "peer"}
        assert states <= {"joined", "complete", "left"}, "the honest peer was banned"
        changing.wait_line(f"{source} was (changed|truncated|deleted)", stream="err")
        assert changing.running
        assert "since it was shared" not in steady.stderr


def events(stdout: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in stdout.splitlines()]


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Change a file repeatedly until the end of the block."""
    is_over = threading.Event()

    def write() -> None:
        with path.open("r+b", buffering=0) as file:
            number = 0
            while not is_over.wait(0.001):
                file.seek(number * 4096 % SIZE)
                file.write(number.to_bytes(8, "big"))
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        is_over.set()
        writer.join()


def test_a_file_written_to_while_it_is_hashed_is_not_shared(
    make_file: MakeFile,
) -> None:
    path = make_file(64 << 20, 9)
    with writing_to(path), run("share", path) as program:
        ended = program.finish()
    assert ended.code == 1, ended.stderr
    assert ended.stdout == b"", "a link was printed for bytes that no longer exist"
    assert "changed while it was read" in ended.stderr


def test_a_folder_with_special_files_can_be_shared(tmp_path: Path) -> None:
    """Links, devices and FIFOs are skipped, holes are shared, and nothing blocks."""
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_bytes(b"content")
    (source / "shadow").symlink_to("/etc/shadow")
    (source / "root").symlink_to("/")
    os.mkfifo(source / "fifo")
    with (source / "hole").open("wb") as file:
        file.truncate(20 << 20)
    skipped = ["shadow", "root", "fifo"]
    if os.geteuid() == 0:
        os.mknod(source / "zero", 0o666 | 0o020000, os.makedev(1, 5))
        skipped.append("zero")
    with share(source) as sharing:
        link = link_of(sharing)
        for name in skipped:
            assert name in sharing.stderr, f"{name} was not reported"
        with run("get", link, "-o", out, "--peer", peer_of(sharing)) as getting:
            assert getting.finish().code == 0
    assert [(e.path, len(e.content)) for e in list_folder(out)] == [
        ("hole", 20 << 20),
        ("inner/file", 7),
    ]


@pytest.mark.parametrize("name", ["secret", "closed"])
def test_unreadable_files_are_named(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    (source / "closed" / "file").write_bytes(b"x")
    (source / "secret").write_bytes(b"x")
    (source / name).chmod(0)
    ended = unprivileged("share", source).finish()
    (source / name).chmod(0o700)
    assert ended.code == 4, ended.stderr
    assert name in ended.stderr
    assert ended.stdout == b""
