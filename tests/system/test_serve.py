"""curl and ffprobe read from `shoal serve`."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shoal.core.names.link import Link
from tests.adversary.http import Target
from tests.adversary.http import run as attack
from tests.conftest import MakeFile
from tests.helpers.commands import LOOPBACK, link_of, peer_of, run, share
from tests.helpers.folders import make_folder
from tests.helpers.process import Program
from tests.helpers.requirements import require

URL = r"^http://127\.0\.0\.1:\d+/[A-Za-z0-9_-]{22}/$"
UNKNOWN = str(Link(bytes(32)))


def serve(*sharing: Program, words: tuple[object, ...] = ()) -> Program:
    """Start `shoal serve` for these shares."""
    peers = [word for each in sharing for word in ("--peer", peer_of(each))]
    return run("serve", *map(link_of, sharing), *peers, *words)


def url_of(serving: Program) -> str:
    """Return the URL that a `serve` printed."""
    return serving.wait_line(URL, stream="out").string


def curl(*words: str) -> bytes:
    """Return the output of curl, which must succeed."""
    require(None if shutil.which("curl") else "curl is not installed")
    argv = ["curl", "-s", "-S", "-f", "-m", "20", *words]
    return subprocess.run(argv, check=True, capture_output=True, timeout=30).stdout


def test_only_the_url_is_printed_and_it_works_at_once(
    make_file: MakeFile, tmp_path: Path
) -> None:
    source = make_file(3_000_000, 1)
    with share(source) as sharing, serve(sharing) as serving:
        url = url_of(serving)
        assert source.name.encode() in curl(url + "files/0/")
        assert curl(f"{url}files/0/{source.name}") == source.read_bytes()
        ranged = curl("-r", "2000000-2000099", f"{url}files/0/{source.name}")
        assert ranged == source.read_bytes()[2_000_000:2_000_100]
        serving.send(2)
        ended = serving.finish()
    assert (ended.code, ended.stdout.decode()) == (130, url + "\n")
    assert "Press Ctrl-C to stop." in ended.stderr


def test_several_shares_and_folders_are_served_together(
    make_file: MakeFile, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "many", 150)
    source = make_file(100_000, 2)
    with share(folder) as first, share(source) as second:
        with serve(first, second) as serving:
            url = url_of(serving)
            for path in folder.rglob("file-00*9"):
                file_url = f"files/0/{path.relative_to(folder)}"
                assert curl(url + file_url) == path.read_bytes()
            assert curl(f"{url}files/1/{source.name}") == source.read_bytes()


def test_json_output_has_start_and_error_events(make_file: MakeFile) -> None:
    with share(make_file(1000, 3)) as sharing:
        with serve(sharing, words=("--json",)) as serving:
            line = serving.wait_line(r"^\{", stream="out").string
            start = json.loads(line)
            assert start["event"] == "start"
            assert start["shares"] == 1
            assert start["url"].startswith(f"http://127.0.0.1:{start['port']}/")
            assert curl(start["url"])
            serving.send(15)
            ended = serving.finish()
    assert ended.code == 143
    assert json.loads(ended.stdout.splitlines()[-1])["code"] == 143


def test_ctrl_c_ends_it_soon_even_during_a_read(make_file: MakeFile) -> None:
    source = make_file(8_000_000, 4)
    words = ("--limit-down", "100K")
    with share(source) as sharing, serve(sharing, words=words) as serving:
        url = f"{url_of(serving)}files/0/{source.name}"
        with Program(["curl", "-s", "-S", "-N", "-o", "-", url]) as reader:
            # The reader has begun and would need over a minute.
            curl("-r", "0-9", url)
            serving.send(2)
            assert serving.finish(10).code == 130
            assert reader.finish().code == 18


def test_nothing_is_written_to_disk(make_file: MakeFile, tmp_path: Path) -> None:
    source = make_file(2_000_000, 5)
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    with share(source) as sharing:
        words = ("serve", link_of(sharing), "--peer", peer_of(sharing))
        env = {"HOME": str(home), "XDG_DATA_HOME": str(home)}
        with run(*words, env=env, cwd=here) as serving:
            assert len(curl(f"{url_of(serving)}files/0/{source.name}")) == 2_000_000
            serving.send(2)
            serving.finish()
    assert [*here.iterdir(), *home.iterdir()] == []


def test_it_answers_before_any_peer_has_the_share_and_finds_a_late_one(
    make_file: MakeFile,
) -> None:
    source = make_file(100_000, 6)
    with share(source) as sharing:
        link, peer = link_of(sharing), peer_of(sharing)
    with run("serve", link, "--peer", peer) as serving:
        url = url_of(serving)
        assert curl(url)
        with share(source, "--port", peer.rpartition(":")[2]):
            assert curl(f"{url}files/0/{source.name}") == source.read_bytes()


def test_hostile_clients_get_nothing_and_an_honest_one_still_gets_the_file(
    make_file: MakeFile,
) -> None:
    source = make_file(1_000_000, 9)
    with share(source) as sharing, serve(sharing) as serving:
        url = f"{url_of(serving)}files/0/{source.name}"
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        target = Target(parts.hostname, parts.port, parts.path)
        assert asyncio.run(attack(target, with_slow=False)) == []
        assert curl(url) == source.read_bytes()
        assert serving.stderr == "Press Ctrl-C to stop.\n"


@pytest.mark.parametrize("choice", ["0", "1"], ids=["asyncio", "uvloop"])
def test_a_flood_of_connections_keeps_no_user_out_and_is_not_reported(
    make_file: MakeFile, choice: str
) -> None:
    source = make_file(100_000, 10)
    with share(source) as sharing:
        words = ["serve", link_of(sharing), "--peer", peer_of(sharing)]
        argv = [sys.executable, "-m", "shoal", *words]
        env = {**os.environ, **LOOPBACK, "SHOAL_UVLOOP": choice}
        with Program(argv, env=env) as serving, ExitStack() as stack:
            url = f"{url_of(serving)}files/0/{source.name}"
            parts = urlsplit(url)
            assert parts.port is not None
            for _ in range(600):
                flood = socket.create_connection(("127.0.0.1", parts.port))
                stack.enter_context(flood)
            assert curl(url) == source.read_bytes()
            assert serving.stderr == "Press Ctrl-C to stop.\n"


def test_a_link_may_come_from_standard_input(make_file: MakeFile) -> None:
    with share(make_file(1000, 7)) as sharing:
        words = ["serve", "-", "--peer", peer_of(sharing)]
        argv = [sys.executable, "-m", "shoal", *words]
        env = {**os.environ, **LOOPBACK}
        with Program(argv, env=env, has_input=True) as serving:
            serving.write_line(link_of(sharing))
            assert curl(url_of(serving))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "Missing argument"),
        (("shoal:abc",), 2, "mistyped"),
        ((UNKNOWN[:-1] + "a",), 2, "mistyped"),
        (("a channel",), 2, "needs a link"),
        ((UNKNOWN, "--http", "8080"), 2, "HOST:PORT"),
        ((UNKNOWN, "--http", "127.0.0.1:99999"), 2, "HOST:PORT"),
        ((UNKNOWN, "--http", "192.0.2.7:0"), 1, "Name another HOST:PORT"),
    ],
)
def test_invalid_links_and_endpoints_are_reported(
    words: tuple[str, ...], code: int, message: str
) -> None:
    ended = run("serve", *words).finish()
    assert (ended.code, ended.stdout) == (code, b"")
    assert message in ended.stderr


def test_a_port_in_use_is_reported(make_file: MakeFile) -> None:
    with share(make_file(1000, 8)) as sharing, serve(sharing) as serving:
        endpoint = url_of(serving).split("/")[2]
        with serve(sharing, words=("--http", endpoint)) as second:
            ended = second.finish()
    assert (ended.code, ended.stdout) == (1, b"")
    assert endpoint in ended.stderr


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a film with its index at the end, as cameras write it."""
    require(None if shutil.which("ffmpeg") else "ffmpeg is not installed")
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    picture = "testsrc=duration=30:size=320x240:rate=10"
    words = ["-f", "lavfi", "-i", picture, "-c:v", "mpeg4", "-b:v", "2M", "-g", "10"]
    argv = ["ffmpeg", "-v", "error", *words, str(path)]
    subprocess.run(argv, check=True, timeout=60)
    return path


@pytest.mark.program(
    *("clients", "ffprobe", "ffprobe -version"),
    "reads the index at the end of a film, and seeks",
)
def test_a_player_reads_the_index_at_the_end_and_seeks(film: Path) -> None:
    require(None if shutil.which("ffprobe") else "ffprobe is not installed")
    with share(film, "--chunk-size", "16K") as sharing, serve(sharing) as serving:
        url = f"{url_of(serving)}files/0/film.mp4"
        entries = "format=duration:stream=codec_name,width"
        argv = ["ffprobe", "-v", "error", "-of", "json", "-show_entries", entries, url]
        info = json.loads(subprocess.check_output(argv, timeout=30))
        assert float(info["format"]["duration"]) == pytest.approx(30, abs=0.2)
        assert info["streams"] == [{"codec_name": "mpeg4", "width": 320}]
        # A frame near the end is the same through the gateway as from the file.
        argv = ["ffmpeg", "-v", "error", "-ss", "28", "-i"]
        rest = ["-frames:v", "1", "-f", "framemd5", "-"]
        ours = subprocess.check_output([*argv, url, *rest], timeout=30)
        assert ours == subprocess.check_output([*argv, str(film), *rest], timeout=30)
