"""Programs that speak BitTorrent: libtorrent, aria2 and webtorrent.

None of them discovers peers: libtorrent and webtorrent get the addresses as arguments,
and aria2, which takes none, gets them from a tracker.
"""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program

from benchmarks.measure import run_client
from benchmarks.peers.launch import missing_programs, own_argv, start, wait_listening
from benchmarks.transfer import Fetch, Job, Peer, Way

__all__ = [
    "ARIA2",
    "LIBTORRENT",
    "LIBTORRENT_V2",
    "WEBTORRENT",
    "aria2_argv",
    "make_torrent",
    "missing_aria2",
    "missing_libtorrent",
    "start_tracker",
]

NODE_FOLDER = Path(__file__).parent.parent / "node"


def missing_libtorrent() -> str | None:
    """Return why libtorrent cannot run here; None if it can."""
    found = find_spec("libtorrent") is not None
    return None if found else "not installed; no wheel for Python 3.14 or later"


def missing_aria2() -> str | None:
    """Return why aria2 cannot fetch a torrent here; None if it can."""
    # libtorrent makes the torrent.
    return missing_programs("aria2c") or missing_libtorrent()


def _missing_webtorrent() -> str | None:
    if shutil.which("node") is None:
        return "no node on this machine"
    if not (NODE_FOLDER / "node_modules" / "webtorrent").is_dir():
        return "not installed; `scripts/setup bench` installs it"
    return missing_libtorrent()


def make_torrent(
    namespace: Namespace, file: Path, torrent: Path, *options: object
) -> Path:
    """Write the torrent of a file; options are those of programs/torrent_peer.py."""
    argv = own_argv("torrent_peer", "make", file, torrent, *options)
    run_client(argv, namespace=namespace)
    return torrent


def _start_libtorrent(job: Job, *, version: int) -> Way:
    folder = job.folder(f"libtorrent-v{version}")
    options = ["--v2"] if version == 2 else []
    torrent = make_torrent(job.namespace, job.source, folder / "torrent", *options)
    ports = [next(job.ports) for _ in range(job.sources)]
    servers = []
    for port in ports:
        seed = ("seed", torrent, job.source.parent, port, "--tuned")
        argv = own_argv("torrent_peer", *seed)
        servers.append(start(job.setup.stack, job.namespace, argv))
    for server in servers:
        server.wait_line("^seeding$", 120, stream="out")
    get = ("get", torrent, folder, next(job.ports), "--tuned", *_addresses(ports))
    argv = own_argv("torrent_peer", *get)
    pids = [server.pid for server in servers]
    return lambda stack: Fetch(argv, folder / job.source.name, pids)


def _addresses(ports: Sequence[int]) -> list[str]:
    return [f"127.0.0.1:{port}" for port in ports]


def start_tracker(
    stack: ExitStack, namespace: Namespace, port: int, addresses: Sequence[str]
) -> Program:
    """Start a tracker that reports these addresses to every peer."""
    program = start(stack, namespace, own_argv("tracker", port, *addresses))
    program.wait_line("^listening$", stream="out")
    return program


def aria2_argv(
    torrent: Path, folder: Path, port: int, tracker: str, options: Sequence[str]
) -> list[str]:
    """Return the command that fetches or seeds a torrent through one tracker."""
    return [
        *("aria2c", "--no-conf", "--console-log-level=warn", "--summary-interval=0"),
        *("--enable-dht=false", "--enable-dht6=false", "--disable-ipv6=true"),
        *("--bt-enable-lpd=false", "--enable-peer-exchange=false"),
        # By default aria2 first fills the file with zeros.
        "--file-allocation=none",
        f"--bt-tracker={tracker}",
        f"--listen-port={port}",
        *("-d", str(folder), *options, str(torrent)),
    ]


def _start_aria2(job: Job) -> Way:
    folder = job.folder("aria2-torrent")
    torrent = make_torrent(job.namespace, job.source, folder / "torrent")
    ports = [next(job.ports) for _ in range(job.sources)]
    tracking = next(job.ports)
    stack, namespace = job.setup.stack, job.namespace
    start_tracker(stack, namespace, tracking, _addresses(ports))
    tracker = f"http://127.0.0.1:{tracking}/announce"
    seed = ("--seed-ratio=0.0", "--bt-seed-unverified=true", "--allow-overwrite=true")
    pids = []
    for port in ports:
        argv = aria2_argv(torrent, job.source.parent, port, tracker, seed)
        pids.append(start(stack, namespace, argv).pid)
        wait_listening(namespace, port)
    leave = ["--seed-time=0"]
    get = aria2_argv(torrent, folder, next(job.ports), tracker, leave)
    return lambda stack: Fetch(get, folder / job.source.name, pids)


def _start_webtorrent(job: Job) -> Way:
    folder = job.folder("webtorrent")
    torrent = make_torrent(job.namespace, job.source, folder / "torrent")
    ports = [next(job.ports) for _ in range(job.sources)]
    program = ["node", str(NODE_FOLDER / "webtorrent.mjs")]
    servers = []
    for port in ports:
        argv = [*program, "seed", str(torrent), str(job.source.parent), str(port)]
        servers.append(start(job.setup.stack, job.namespace, argv))
    for server in servers:
        server.wait_line("^seeding$", 120, stream="out")
    get = [*program, "get", str(torrent), str(folder), str(next(job.ports))]
    get += _addresses(ports)
    pids = [server.pid for server in servers]
    return lambda stack: Fetch(get, folder / job.source.name, pids)


LIBTORRENT = Peer(
    name="libtorrent",
    how=(
        "a torrent of version 1 with pieces of 1 MiB over plain TCP, unlimited "
        "slots, large buffers and request queues; every piece verified."
    ),
    missing=missing_libtorrent,
    start=partial(_start_libtorrent, version=1),
)
LIBTORRENT_V2 = Peer(
    name="libtorrent v2",
    how="the same with a torrent of version 2.",
    missing=missing_libtorrent,
    start=partial(_start_libtorrent, version=2),
)
ARIA2 = Peer(
    name="aria2 by BitTorrent",
    how=(
        "the same torrent of version 1, default settings, except that no space is "
        "allocated in advance; every piece verified."
    ),
    missing=missing_aria2,
    start=_start_aria2,
)
WEBTORRENT = Peer(
    name="webtorrent",
    how="the same torrent over plain TCP, default settings; every piece verified.",
    missing=_missing_webtorrent,
    start=_start_webtorrent,
)
