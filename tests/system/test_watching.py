"""`--http` and `--metrics` of commands that share or download, and `list --watch`."""

import json
import os
import urllib.request
from pathlib import Path

from tests.helpers.commands import link_of, run
from tests.helpers.terminal import Terminal


def make_file(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(100_000))
    return path


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_the_page_shows_what_is_shared_and_downloaded(tmp_path: Path) -> None:
    path, user = make_file(tmp_path, "film.mp4"), {"XDG_DATA_HOME": str(tmp_path)}
    paged = ("--http", "127.0.0.1:0", "--metrics", "--json")
    with run("share", path, *paged, env=user) as share:
        page = json.loads(share.wait_line('"page"', stream="out").string)
        start = json.loads(share.wait_line('"start"', stream="out").string)
        text = fetch(page["url"])
        assert "film.mp4" in text
        assert start["link"] in text
        peer = f"127.0.0.1:{start['port']}"
        words = (start["link"], "-o", tmp_path / "copy", "--peer", peer, "--seed")
        with run("get", *words, *paged) as get:
            other = json.loads(get.wait_line('"page"', stream="out").string)
            get.wait_line('"complete"', stream="out", count=2)
            assert "2 of 2 chunks verified" in fetch(other["url"])
            metrics = fetch(f"http://127.0.0.1:{other['port']}/metrics")
            assert 'shoal_chunks{share="0",state="here"} 2.0' in metrics
            assert 'shoal_disk_seconds_count{operation="write"} 0.0' not in metrics
        metrics = fetch(f"http://127.0.0.1:{page['port']}/metrics")
        assert 'shoal_bytes_total{direction="sent",path="lan"} 100000.0' in metrics
    with run("seed", *paged, env=user) as seed:
        page = json.loads(seed.wait_line('"page"', stream="out").string)
        seed.wait_line('"start"', stream="out")
        assert "film.mp4" in fetch(page["url"])


def test_list_is_watched_in_a_terminal_and_as_json(tmp_path: Path) -> None:
    user = {"XDG_DATA_HOME": str(tmp_path / "home")}
    with (
        Terminal("shoal", "list", "--watch", env=user, columns=60) as terminal,
        run("list", "--watch", "--json", env=user) as program,
    ):
        terminal.wait_screen("Nothing is shared or downloaded yet.")
        path = make_file(tmp_path, "file-with-a-name")
        with run("share", path, env=user) as share:
            link_of(share)
        terminal.wait_screen(r" *97\.7 KiB  complete .*file-with-a-name  /.*…")
        assert all(len(line) < 60 for line in terminal.screen)
        line = program.wait_line('"shared":false', stream="out").string
        assert json.loads(line)["path"] == str(path)
        with run("forget", path, env=user) as forget:
            assert forget.finish().code == 0
        terminal.wait_screen("Nothing is shared or downloaded yet.")
        program.wait_line('"unlisted"', stream="out")
