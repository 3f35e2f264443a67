"""A paused peer does not delay a download, and serves again when it continues."""

import os
import signal
import time
from pathlib import Path

from tests.conftest import MakeFile
from tests.helpers.commands import link_of, peer_of, run

SIZE = 6 << 20
RATE = "2M"  # that each source gives, so that one alone takes seconds


def test_the_requests_of_a_paused_source_go_to_the_other(
    make_file: MakeFile, tmp_path: Path
) -> None:
    source, out = make_file(SIZE, 4), tmp_path / "out"
    words = ("share", source, "--limit-up", RATE)
    with run(*words) as one, run(*words) as other:
        link = link_of(one)
        assert link_of(other) == link
        peers = ("--peer", peer_of(one), "--peer", peer_of(other))
        with run("get", link, "-o", out, "--json", *peers) as getting:
            getting.wait_line('"event":"progress"', stream="out")
            os.kill(one.pid, signal.SIGSTOP)
            try:
                assert getting.finish(40).code == 0
            finally:
                os.kill(one.pid, signal.SIGCONT)
        assert out.read_bytes() == source.read_bytes()
        # It serves again after it continues.
        again = tmp_path / "again"
        with run("get", link, "-o", again, "--peer", peer_of(one)) as getting:
            assert getting.finish(40).code == 0


def test_the_timeout_does_not_count_while_the_downloader_is_stopped(
    make_file: MakeFile, tmp_path: Path
) -> None:
    source, out = make_file(SIZE, 4), tmp_path / "out"
    with run("share", source, "--limit-up", RATE) as sharing:
        words = ("--peer", peer_of(sharing), "--timeout", "3", "--json")
        with run("get", link_of(sharing), "-o", out, *words) as getting:
            getting.wait_line('"event":"progress"', stream="out")
            os.kill(getting.pid, signal.SIGSTOP)
            time.sleep(5)  # longer than the timeout: the time is the subject here
            os.kill(getting.pid, signal.SIGCONT)
            assert getting.finish(40).code == 0
    assert out.read_bytes() == source.read_bytes()
