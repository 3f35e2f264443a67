"""shoal itself, as installed for this interpreter."""

import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program

from benchmarks.model import Setup
from benchmarks.peers.launch import start
from benchmarks.transfer import Fetch, Job, Peer, Way

__all__ = ["OPEN", "SEALED", "SealedShare", "Share", "shoal_argv"]

ALONE = ("--lan-only", "--no-lan")
"""Options that turn off discovery, for commands that get the addresses of peers."""
_START = r'^\{.*"event":"start".*\}$'


def shoal_argv(*args: object) -> list[str]:
    """Return the command line of shoal with these arguments."""
    script = Path(sys.executable).with_name("shoal")
    begin = [str(script)] if script.exists() else [sys.executable, "-m", "shoal"]
    return [*begin, *map(str, args)]


@dataclass(frozen=True)
class Share:
    """A running `shoal share` of an open channel."""

    pid: int
    id: str
    port: int

    @classmethod
    def start(
        cls, setup: Setup, namespace: Namespace, path: Path, *options: object
    ) -> "Share":
        """Share a file on the LAN of a namespace."""
        argv = shoal_argv("share", path, "--json", "--lan-only", *options)
        program = start(setup.stack, namespace, argv)
        event = json.loads(program.wait_line(_START, 60, stream="out")[0])
        return cls(program.pid, event["id"], event["port"])


@dataclass(frozen=True)
class SealedShare:
    """A running `shoal share` of a sealed share, with discovery off."""

    program: Program
    link: str
    port: int

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self.program.pid

    @classmethod
    def start(
        cls,
        stack: ExitStack,
        namespace: Namespace,
        path: Path,
        home: Path,
        *options: object,
    ) -> "SealedShare":
        """Share a file or folder; `home` is for the files that shoal keeps."""
        argv = shoal_argv("share", path, "--json", *ALONE, *options)
        program = start(stack, namespace, argv, env={"XDG_DATA_HOME": str(home)})
        event = json.loads(program.wait_line(_START, 300, stream="out")[0])
        return cls(program, event["link"], event["port"])

    def get_argv(self, host: str, out: Path, *options: object) -> list[str]:
        """Return the command that fetches the share from this address."""
        peer = f"{host}:{self.port}"
        return shoal_argv(
            *("get", self.link, "-o", out, "--no-progress"),
            *(*ALONE, "--peer", peer, *options),
        )


def _start_sealed(job: Job) -> Way:
    folder = job.folder("shoal")
    # With --public, all sources of the same bytes have the same link.
    shares = [
        SealedShare.start(
            *(job.setup.stack, job.namespace, job.source, folder / str(number)),
            "--public",
        )
        for number in range(job.sources)
    ]
    first, *others = shares
    target = folder / "target"
    peers = [word for each in others for word in ("--peer", f"127.0.0.1:{each.port}")]
    argv = first.get_argv("127.0.0.1", target, *peers)
    fetch = Fetch(argv, target, [each.pid for each in shares])
    return lambda stack: fetch


def _start_open(job: Job) -> Way:
    options = ("--open", "--chunk-size", "1M")
    share = Share.start(job.setup, job.namespace, job.source, *options)
    target = job.folder("shoal-open") / "target"
    argv = shoal_argv(
        *("get", share.id, "-o", target, "--no-progress", *ALONE),
        *("--peer", f"127.0.0.1:{share.port}"),
    )
    return lambda stack: Fetch(argv, target, [share.pid])


SEALED = Peer(
    name="shoal",
    how=(
        "a sealed share, encrypted, every chunk verified, flushed to the disk before "
        "the file gets its name."
    ),
    missing=lambda: None,
    start=_start_sealed,
)
OPEN = Peer(
    name="shoal",
    how=(
        "an open channel in chunks of 1 MiB, unencrypted, every chunk verified, "
        "flushed to the disk before the file gets its name."
    ),
    missing=lambda: None,
    start=_start_open,
)
