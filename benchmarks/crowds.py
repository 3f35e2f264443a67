"""Start a source and many downloaders on one switch, with each of three programs."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.helpers.process import Program

from benchmarks.peers.launch import own_argv, start, wait_listening
from benchmarks.peers.shoal import SealedShare
from benchmarks.peers.torrents import (
    aria2_argv,
    make_torrent,
    missing_aria2,
    missing_libtorrent,
    start_tracker,
)
from benchmarks.shaped import Host

__all__ = ["DONE", "MEMBERS", "Crowd", "Launch", "Member"]

TORRENT_PORT = 6881
TRACKER_PORT = 6969
DONE = r'^complete$|"event":"complete"'
"""The line that a downloader prints when its file is complete."""


@dataclass
class Crowd:
    """The hosts and the file, which all sides of a run use."""

    source: Host
    downloaders: Sequence[Host]
    scratch: Path
    file: Path
    digest: str
    rate: float = field(default=0.0)
    """Payload bytes per second that one host sends, as last measured."""

    @property
    def size(self) -> int:
        """Return the size of the file in bytes."""
        return self.file.stat().st_size

    @property
    def bound(self) -> float:
        """Return the least possible time in seconds, by a fluid model."""
        count = len(self.downloaders)
        all_rates = self.rate * (1 + count)
        return max(self.size / self.rate, count * self.size / all_rates)

    def target(self, number: int) -> Path:
        """Return the path that a downloader writes to."""
        folder = self.scratch / f"downloader-{number}"
        folder.mkdir(exist_ok=True)
        return folder / self.file.name

    def torrent(self) -> Path:
        """Return the path of the torrent, with libtorrent's choice of piece size."""
        torrent = self.scratch / "source.torrent"
        if not torrent.exists():
            make_torrent(self.source.namespace, self.file, torrent, 0)
        return torrent

    def others(self, host: Host | None = None) -> list[str]:
        """Return the BitTorrent addresses of all hosts except this one."""
        hosts = (self.source, *self.downloaders)
        return [f"{h.address}:{TORRENT_PORT}" for h in hosts if h is not host]

    def launch(
        self, stack: ExitStack, argv: Callable[[int, Host], Sequence[str]]
    ) -> list[Program]:
        """Start a program on every downloader."""
        return [
            start(stack, host.namespace, argv(number, host))
            for number, host in enumerate(self.downloaders)
        ]


Launch = Callable[[], list[Program]]
"""Start the downloaders, which print `DONE`."""


@dataclass(frozen=True)
class Member:
    """A program that all hosts run."""

    name: str
    missing: Callable[[], str | None]
    start: Callable[[Crowd, ExitStack], Launch]
    """Start the source and wait until it is ready; return the `Launch`."""


def _start_shoal(crowd: Crowd, stack: ExitStack) -> Launch:
    home = crowd.scratch / "home"
    share = SealedShare.start(stack, crowd.source.namespace, crowd.file, home)

    def argv(number: int, host: Host) -> list[str]:
        target = crowd.target(number)
        return share.get_argv(crowd.source.address, target, "--seed", "--json")

    return partial(crowd.launch, stack, argv)


def _start_libtorrent(crowd: Crowd, stack: ExitStack) -> Launch:
    torrent = crowd.torrent()
    seed = ("seed", torrent, crowd.file.parent, TORRENT_PORT)
    source = start(stack, crowd.source.namespace, own_argv("torrent_peer", *seed))
    source.wait_line("^seeding$", 120, stream="out")

    def argv(number: int, host: Host) -> list[str]:
        folder = crowd.target(number).parent
        get = ("get", torrent, folder, TORRENT_PORT, "--stay", *crowd.others(host))
        return own_argv("torrent_peer", *get)

    return partial(crowd.launch, stack, argv)


def _start_aria2(crowd: Crowd, stack: ExitStack) -> Launch:
    torrent = crowd.torrent()
    hook = crowd.scratch / "complete"
    hook.write_text("#!/bin/sh\necho complete\n", encoding="utf-8")
    hook.chmod(0o755)
    place = (stack, crowd.source.namespace)
    start_tracker(*place, TRACKER_PORT, crowd.others())
    tracker = f"http://{crowd.source.address}:{TRACKER_PORT}/announce"
    make = partial(aria2_argv, torrent, port=TORRENT_PORT, tracker=tracker)
    # All stay until the last downloader is complete.
    stay = ["--seed-ratio=0.0"]
    seed = [*stay, "--bt-seed-unverified=true", "--allow-overwrite=true"]
    start(*place, make(crowd.file.parent, options=seed))
    wait_listening(crowd.source.namespace, TORRENT_PORT)

    def argv(number: int, host: Host) -> list[str]:
        folder = crowd.target(number).parent
        return make(folder, options=[*stay, f"--on-bt-download-complete={hook}"])

    return partial(crowd.launch, stack, argv)


MEMBERS = (
    Member("shoal", lambda: None, _start_shoal),
    Member("libtorrent", missing_libtorrent, _start_libtorrent),
    Member("aria2", missing_aria2, _start_aria2),
)
