"""Where `shoal get` writes: a new folder, one file of a folder, many links at once."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import Shared, link_of, peer_of, run, share

CHUNK = 16_384


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    path = tmp_path_factory.mktemp("shared") / "things"
    (path / "sub").mkdir(parents=True)
    (path / "a").write_bytes(os.urandom(CHUNK + 7))
    (path / "empty").write_bytes(b"")
    (path / "sub" / "run").write_bytes(os.urandom(3 * CHUNK))
    (path / "sub" / "run").chmod(0o755)
    (path / "z").write_bytes(os.urandom(CHUNK))
    with share(path, "--chunk-size", CHUNK) as program:
        yield Shared(path, program)


def test_the_folder_of_a_download_is_created(folder: Shared, tmp_path: Path) -> None:
    into = tmp_path / "new" / "deep"
    assert folder.do("get", "-C", into).code == 0
    assert (into / "things" / "a").read_bytes() == (folder.path / "a").read_bytes()
    umask = os.umask(0)
    os.umask(umask)
    assert into.stat().st_mode & 0o777 == 0o777 & ~umask


def test_a_folder_cannot_be_created_below_a_file(folder: Shared) -> None:
    ended = folder.do("get", "-C", folder.path / "a" / "into")
    assert ended.code == 1
    assert "a is not a folder; choose another one" in ended.stderr


def test_no_folder_is_created_for_a_share_that_is_not_found(
    folder: Shared, tmp_path: Path
) -> None:
    into = tmp_path / "new"
    with run("get", folder.link, "-C", into, "--timeout", 0.2) as program:
        assert program.finish().code == 3
    assert not into.exists()


@pytest.mark.parametrize("name", ["sub/run", "./empty"])
def test_one_file_of_a_folder_is_downloaded_as_a_file(
    name: str, folder: Shared, tmp_path: Path
) -> None:
    out, into = tmp_path / "out", tmp_path / "into"
    assert folder.do("get", name, "-o", out).code == 0
    assert folder.do("get", name, "-C", into, "--keep-exec").code == 0
    content = (folder.path / name).read_bytes()
    copy = into / Path(name).name
    assert out.read_bytes() == copy.read_bytes() == content
    assert sorted(os.listdir(into)) == [copy.name], "nothing else is left"
    assert copy.stat().st_mode & 0o100 == (0o100 if name == "sub/run" else 0)
    assert out.stat().st_mode & 0o100 == 0
    assert folder.do("get", name, "-o", out).code == 6
    assert folder.do("get", name, "-o", out, "-f").code == 0


def test_one_file_is_streamed(folder: Shared) -> None:
    ended = folder.do("get", "sub/run", "-o", "-")
    assert ended.stdout == (folder.path / "sub" / "run").read_bytes()


def test_one_file_is_served_again_if_its_copy_is_unchanged(
    folder: Shared, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert folder.do("get", "sub/run", "-o", out).code == 0
    ended = folder.do("get", "sub/run", "-o", out, "--seed-for", "0.2")
    assert ended.code == 0
    out.write_bytes(b"x" * 3 * CHUNK)
    ended = folder.do("get", "sub/run", "-o", out, "--seed-for", "0.2")
    assert ended.code == 6


def test_one_file_resumes(folder: Shared, tmp_path: Path) -> None:
    """A chunk that is shared with other files counts, too."""
    out = tmp_path / "out"
    limited = ("--limit-down", "16K", "-v", "--json")
    words = ("get", folder.link, "sub/run", "-o", out, "--peer", folder.peer)
    with run(*words, *limited) as program:
        program.wait_line('"progress","done":[1-9]')
        program.send(9)
    ended = folder.do("get", "sub/run", "-o", out, "--json")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    (start,) = (each for each in events if each["event"] == "start")
    assert start["resumed"] > 0
    assert out.read_bytes() == (folder.path / "sub" / "run").read_bytes()
    assert not list(tmp_path.glob(".out.*"))


def test_arguments_that_make_no_sense_are_refused(folder: Shared) -> None:
    for words, code, message in (
        (("nowhere",), 3, "There is no 'nowhere' in the share"),
        (("sub/",), 2, "'sub' is a folder of the share; name one of its files"),
        (("a", "b"), 2, "b is one argument too many"),
        (("a", "--include", "b"), 2, "names one file; leave out --include"),
        (("-i", "links"), 2, "leave out LINK"),
    ):
        ended = folder.do("get", *words)
        assert (ended.code, message in ended.stderr) == (code, True), ended.stderr


# Many links.


def test_all_links_of_a_file_are_downloaded(
    folder: Shared, make_file: MakeFile, tmp_path: Path
) -> None:
    links, into = tmp_path / "links", tmp_path / "into"
    path = make_file(5 * CHUNK, 1)
    with share(path) as other:
        links.write_text(f"# two links\n\n{folder.link}\n  {link_of(other)}\n")
        peers = ("--peer", folder.peer, "--peer", peer_of(other))
        for _ in range(2):  # copies that exist are verified, and stay
            with run("get", "-i", links, "-C", into, *peers) as program:
                ended = program.finish()
            assert ended.code == 0
            written = sorted(ended.stdout.decode().split())
            assert written == sorted(map(str, (into / "things", into / path.name)))
    assert (into / path.name).read_bytes() == path.read_bytes()


def test_a_link_that_fails_does_not_hold_up_the_others(
    folder: Shared, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (into / "things").write_bytes(b"in the way")
    with run(
        *("get", "-i", "-", "-C", into, "--peer", folder.peer, "--json"),
        has_input=True,
    ) as program:
        program.write_line(folder.link)
        program.end_input()
        ended = program.finish()
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    (failed,) = (each for each in events if each["event"] == "failed")
    assert (failed["link"], failed["code"]) == (folder.link, 6)
    assert (events[-1]["event"], ended.code) == ("error", 7)
    assert "Of 1 link, 1 could not be downloaded" in ended.stderr


def test_a_wrong_link_among_many_is_refused_before_any_download(
    folder: Shared, tmp_path: Path
) -> None:
    links = tmp_path / "links"
    for wrong in (folder.link[:-3], "-"):
        links.write_text(f"{folder.link}\n\n{wrong}\n")
        with run("get", "-i", links, "-C", tmp_path / "into") as program:
            ended = program.finish()
        assert (ended.code, f"Line 3 of {links}" in ended.stderr) == (2, True)
        assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [("x" * (16 << 20) + "y", "links is larger than 16.0 MiB"), ("", "no link in")],
)
def test_a_file_that_has_no_list_of_links_is_refused(
    content: str, said: str, tmp_path: Path
) -> None:
    links = tmp_path / "links"
    links.write_text(content)
    with run("get", "-i", links) as program:
        ended = program.finish()
    assert (ended.code, said in ended.stderr) == (2, True)
    assert "10,000" not in ended.stderr


def test_of_two_shares_with_one_name_the_second_never_replaces_the_first(
    folder: Shared, tmp_path: Path
) -> None:
    links, into = tmp_path / "links", tmp_path / "into"
    paths = [tmp_path / name / "same" for name in ("x", "y")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(os.urandom(CHUNK))
    with share(paths[0]) as one, share(paths[1]) as two:
        links.write_text(f"{link_of(one)}\n{link_of(two)}\n")
        peers = ("--peer", peer_of(one), "--peer", peer_of(two))
        for _ in range(2):  # a file of an earlier run is replaced
            with run("get", "-i", links, "-C", into, "-f", *peers) as program:
                ended = program.finish()
            assert (ended.code, ended.stdout.decode()) == (7, f"{into}/same\n")
            assert "also has the name same" in ended.stderr
