"""Every command with a link ends after a signal, at any moment.

It ends with the right exit code, and all verified chunks are flushed to the disk.
`scripts/bench stop` measures how long that takes.
"""

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.storage.download.journal import decode
from tests.conftest import MakeFile
from tests.helpers.commands import link_of, peer_of, run, share
from tests.helpers.process import Finished
from tests.helpers.signals import until_caught

CHUNK = 16_384
SIZE = 200 * CHUNK + 5
PATIENCE = 10.0  # seconds from a signal to the end, on a busy machine
COMMANDS = ["get", "cat", "chunk", "ls", "share"]
SHARED = 96 << 20  # bytes of a file whose hashing takes as long as the other commands


class Interrupter:
    """Send signals to commands and check how they end."""

    def __init__(self, link: str, peer: str, folder: Path, seed: int) -> None:
        self._rng = random.Random(seed)
        self._where = (link, "--peer", peer)
        self._folder = folder
        self._out = folder / "out"
        self._large = folder / "large"
        with self._large.open("wb") as file:
            file.truncate(SHARED)  # a sparse file
        self._kept = 0
        self.caught = 0
        """The number of commands that were interrupted before they had finished."""

    def words(self, command: str) -> list[object]:
        """Return the arguments of a command."""
        link, *where = self._where
        words: dict[str, list[object]] = {
            "get": ["get", link, *where, "-o", self._out, "--json"],
            "cat": ["cat", link, *where],
            "chunk": ["chunk", link, self._rng.randrange(200), *where],
            "ls": ["ls", link, *where],
            # With a new link each time, the file is hashed again.
            "share": ["share", self._large, "--new-link"],
        }
        return words[command]

    def interrupt(self, command: str) -> None:
        """Run a command and send it a signal at a random moment."""
        signum = self._rng.choice([signal.SIGINT, signal.SIGTERM])
        with run(*self.words(command)) as program:
            # Before that, Python itself handles signals.
            until_caught(program)
            time.sleep(self._rng.uniform(0.0, 0.8))  # a random moment
            program.send(signum)
            ended = program.finish(PATIENCE)
        # A command that had finished exits with 0.
        assert ended.code in (128 + signum, 0), ended.stderr
        if ended.code == 128 + signum:
            self.caught += 1
            word = "Interrupted" if signum == signal.SIGINT else "Terminated"
            assert word in ended.stderr
        if command == "get":
            self._check_kept(ended, signum)

    def _check_kept(self, ended: Finished, signum: int) -> None:
        events = [json.loads(line) for line in ended.stdout.splitlines()]
        for start in (each for each in events if "resumed" in each):
            assert start["resumed"] * CHUNK >= self._kept, "verified chunks were lost"
        done = [each["done"] for each in events if each["event"] == "progress"]
        self._kept = max([self._kept, *done])
        if ended.code == 128 + signum and any(e["event"] == "start" for e in events):
            assert "Run this again to resume" in ended.stderr
            self._check_journal()
        if self._out.exists():
            self._out.unlink()
            self._kept = 0

    def _check_journal(self) -> None:
        """Check that a power loss at this moment would lose no verified chunk."""
        for path in self._folder.glob(".out.shoal-*/journal"):
            contents = decode(path.read_bytes())
            assert contents is not None
            assert contents.committed == len(contents.indexes)
            assert contents.committed * CHUNK >= self._kept


@pytest.fixture
def slow(make_file: MakeFile) -> Iterator[tuple[str, str]]:
    """Share a file that takes seconds to fetch; yield its link and address."""
    source = make_file(SIZE, 5)
    with share(source, "--chunk-size", CHUNK, "--limit-up", "800K") as program:
        yield link_of(program), peer_of(program)


def interrupt_often(slow: tuple[str, str], folder: Path, times: int, seed: int) -> None:
    """Interrupt the commands in turn, this many times in total."""
    interrupter = Interrupter(*slow, folder, seed)
    for number in range(times):
        interrupter.interrupt(COMMANDS[number % len(COMMANDS)])
    assert interrupter.caught > times // 3, (
        "most commands had finished before the signal"
    )


def test_every_command_at_any_moment(slow: tuple[str, str], tmp_path: Path) -> None:
    interrupt_often(slow, tmp_path, 10, 1)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_hundred_times_at_any_moment(slow: tuple[str, str], tmp_path: Path) -> None:
    interrupt_often(slow, tmp_path, 200, 2)
