"""Permissions of what is downloaded, few descriptors, and files that lie about size."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import in_shell, peer_of, run, share
from tests.helpers.requirements import require

GROUP = 4242  # of no user here
FOLDERS = 150  # more than the descriptors allowed
LEVELS = 100
LARGE = 70_000  # bytes of a file that is not read as a whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Share a folder; give its link and the option with its address."""
    top = tmp_path_factory.mktemp("shared") / "top"
    (top / "sub/deep").mkdir(parents=True)
    (top / "sub/deep/plain").write_bytes(b"plain")
    (top / "sub/empty").touch()
    (top / "sub/program").write_bytes(b"program")
    (top / "sub/program").chmod(0o755)
    with share(top) as program:
        yield program.wait_line("^shoal:").string, "--peer", peer_of(program)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Share a file; give its link and the option with its address."""
    path = tmp_path_factory.mktemp("shared") / "file"
    path.write_bytes(bytes(5000))
    with share(path) as program:
        yield program.wait_line("^shoal:").string, "--peer", peer_of(program)


def mode(path: Path) -> int:
    """Return the permissions of a file or folder, with setgid."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_new_files_and_folders_follow_the_umask(
    umask: int, folder: tuple[str, ...], file: tuple[str, ...], tmp_path: Path
) -> None:
    script = f'umask {umask:o}; exec "$@"'
    out = tmp_path / "out"
    assert in_shell(script, "get", *folder, "-o", out, "--keep-exec").finish().code == 0
    for path in (out, out / "sub", out / "sub/deep"):
        assert mode(path) == 0o777 & ~umask
    for path in (out / "sub/deep/plain", out / "sub/empty"):
        assert mode(path) == 0o666 & ~umask
    assert mode(out / "sub/program") == 0o777 & ~umask
    assert in_shell(script, "get", *file, "-o", tmp_path / "one").finish().code == 0
    assert mode(tmp_path / "one") == 0o666 & ~umask


def test_folders_inherit_the_group_of_a_setgid_folder(
    folder: tuple[str, ...], file: tuple[str, ...], tmp_path: Path
) -> None:
    require(None if os.geteuid() == 0 else "only root may give a file to any group")
    os.chown(tmp_path, -1, GROUP)
    tmp_path.chmod(0o2775)
    (tmp_path / "made").mkdir()
    out = tmp_path / "out"
    with in_shell('umask 002; exec "$@"', "get", *folder, "-o", out) as program:
        assert program.finish().code == 0
    for path in (out, out / "sub", out / "sub/deep"):
        assert mode(path) == 0o2775
        assert path.stat().st_gid == GROUP
    assert (out / "sub/empty").stat().st_gid == GROUP
    assert run("get", *file, "-o", tmp_path / "one").finish().code == 0
    assert (tmp_path / "one").stat().st_gid == GROUP


@pytest.mark.parametrize("entries", ["u::rwx,g::rwx,o::---", "u:4242:rwx,o::--x"])
def test_new_files_and_folders_follow_the_default_acl(
    entries: str, folder: tuple[str, ...], file: tuple[str, ...], tmp_path: Path
) -> None:
    require(None if shutil.which("setfacl") else "setfacl is not installed")
    result = subprocess.run(["setfacl", "-d", "-m", entries, tmp_path])
    require(None if result.returncode == 0 else "this file system has no ACLs")
    (tmp_path / "made").mkdir()
    (tmp_path / "made/plain").touch()
    with open(tmp_path / "made/run", "wb", opener=executable):
        pass
    out, one = tmp_path / "out", tmp_path / "one"
    with in_shell('exec "$@"', "get", *folder, "-o", out, "--keep-exec") as program:
        assert program.finish().code == 0
    with in_shell('exec "$@"', "get", *file, "-o", one) as program:
        assert program.finish().code == 0
    made = tmp_path / "made"
    for path in (out, out / "sub", out / "sub/deep"):
        assert acl(path) == acl(made)
    for path in (out / "sub/deep/plain", out / "sub/empty", one):
        assert acl(path) == acl(made / "plain")
    assert acl(out / "sub/program") == acl(made / "run")


def executable(path: str, flags: int) -> int:
    return os.open(path, flags, 0o777)


def acl(path: Path) -> str:
    """Return the access list of a file, and the default one of a folder."""
    return subprocess.check_output(["getfacl", "-pcE", path], text=True)


@pytest.mark.parametrize("before", [0o600, 0o640, 0o755])
def test_an_overwritten_file_keeps_its_mode(
    before: int, file: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"old")
    out.chmod(before)
    assert run("get", *file, "-o", out, "-f").finish().code == 0
    assert mode(out) == before
    assert out.read_bytes() == bytes(5000)


@pytest.mark.parametrize("entries", ["u:4242:rw,g:4243:r", ""])
@pytest.mark.parametrize("inherited", ["u:4244:rwx,o::---", ""])
def test_an_overwritten_file_keeps_its_acl(
    entries: str, inherited: str, file: tuple[str, ...], tmp_path: Path
) -> None:
    require(None if shutil.which("setfacl") else "setfacl is not installed")
    out = tmp_path / "out"
    out.write_bytes(b"old")
    out.chmod(0o640)
    for words in (["-m", entries, out], ["-d", "-m", inherited, tmp_path]):
        if "" not in words:
            result = subprocess.run(["setfacl", *map(str, words)])
            require(None if result.returncode == 0 else "this file system has no ACLs")
    before = acl(out), mode(out)
    assert run("get", *file, "-o", out, "-f").finish().code == 0
    assert (acl(out), mode(out)) == before
    assert out.read_bytes() == bytes(5000)


def test_a_hundred_and_twenty_eight_descriptors_are_enough_for_any_tree(
    tmp_path: Path,
) -> None:
    top = tmp_path / "top"
    for number in range(FOLDERS):
        (top / str(number)).mkdir(parents=True)
        (top / str(number) / "large").write_bytes(os.urandom(LARGE))
        (top / str(number) / "small").write_bytes(os.urandom(100))
    deep = top.joinpath(*["d"] * LEVELS)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep")
    script = 'ulimit -n 128; exec "$@"'
    with in_shell(script, "share", top) as source:
        link = source.wait_line("^shoal:").string
        out, again = tmp_path / "out", tmp_path / "again"
        words = ("get", link, "--peer", peer_of(source))
        with in_shell(script, *words, "-o", out, "--seed") as first:
            first.wait_line("Sharing", stream="err")
            peer = first.wait_line(r"on port (\d+)", stream="err")[1]
            more = ("-o", again, "--peer", f"127.0.0.1:{peer}")
            assert in_shell(script, *words, *more).finish(60).code == 0
        said = source.stderr.splitlines()
        assert all("has everything" in line for line in said[2:]), said
    for copy in (out, again):
        assert (copy / deep.relative_to(top) / "file").read_bytes() == b"deep"
        for number in range(FOLDERS):
            name = f"{number}/large"
            assert (copy / name).read_bytes() == (top / name).read_bytes()


@pytest.mark.parametrize("path", ["/proc/version", "/proc/sys/kernel/random"])
@pytest.mark.parametrize("more", [(), ("--open",)])
def test_a_file_that_yields_more_than_it_claims_is_refused(
    path: str, more: tuple[str, ...]
) -> None:
    if more and path.endswith("random"):
        return  # an open channel shares no folder
    ended = run("share", path, *more).finish()
    assert ended.code == 2
    assert "claims to have 0 bytes and yields more" in ended.stderr
