"""One large file from one source to one client: sealed, on disk."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.helpers.netns import Namespace

from benchmarks.files import digest_of, flush, make_file
from benchmarks.machine import warm_memory
from benchmarks.measure import MemoryWatch, cpu_seconds, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers import (
    SealedShare,
    has_libtorrent,
    has_programs,
    start_nginx_tls,
    start_torrent,
    torrent_argv,
)

__all__ = ["WORKLOAD"]

SIZE = 1 << 30  # bytes
MIB = 2**-20
TORRENT_PORT = 6881


def prepare(setup: Setup) -> Sequence[Side]:
    """Start the servers, with everything hashed and in the page cache."""
    namespace = setup.stack.enter_context(Namespace())
    root = setup.scratch / "served"
    root.mkdir()
    source = root / "source"
    run = partial(_run, namespace, digest=make_file(source, SIZE))
    target = setup.scratch / "target"
    share = SealedShare.start(setup.stack, namespace, source, setup.scratch / "home")
    argv = share.get_argv("127.0.0.1", target)
    sides = [Side("shoal", partial(run, argv, target, share.pid))]
    if has_programs(setup, "nginx", "curl", "openssl"):
        pid, address, authority = start_nginx_tls(setup, namespace, root)
        argv = ["curl", "-sf", "--cacert", str(authority), "-o", str(target)]
        argv.append(f"{address}/{source.name}")
        sides.append(Side("curl from nginx, HTTPS", partial(run, argv, target, pid)))
    if has_libtorrent(setup):
        sides.append(_libtorrent(setup, namespace, source, run))
    return sides


def _libtorrent(
    setup: Setup, namespace: Namespace, source: Path, run: Callable[..., Sample]
) -> Side:
    torrent = setup.scratch / "source.torrent"
    run_client(torrent_argv("make", source, torrent), namespace=namespace)
    server = start_torrent(
        setup.stack, namespace, "seed", torrent, source.parent, TORRENT_PORT, "--tuned"
    )
    folder = setup.scratch / "torrent"
    folder.mkdir()
    peer = f"127.0.0.1:{TORRENT_PORT}"
    argv = torrent_argv("get", torrent, folder, TORRENT_PORT + 1, "--tuned", peer)
    return Side("libtorrent", partial(run, argv, folder / source.name, server.pid))


def _run(
    namespace: Namespace,
    argv: Sequence[str],
    target: Path,
    server: int,
    *,
    digest: str,
) -> Sample:
    warm_memory(2 * SIZE)
    before = cpu_seconds(server)
    with MemoryWatch(server) as memory:
        outcome = run_client(argv, namespace=namespace)
    server_cpu = cpu_seconds(server) - before
    flushed = outcome.wall + flush(target)
    assert digest_of(target) == digest, "what arrived is not what was sent"
    target.unlink()
    return {
        "wall": outcome.wall,
        "rate": SIZE / outcome.wall,
        "flushed": flushed,
        "client_cpu": outcome.cpu,
        "server_cpu": server_cpu,
        "cpu": (outcome.cpu + server_cpu) * 2**30 / SIZE,
        "client_peak": outcome.memory.peak,
        "server_peak": memory.peak,
    }


WORKLOAD = Workload(
    name="one-to-one",
    title="1 GiB from one source to one client, encrypted",
    how=(
        "shoal: a sealed share, every chunk verified, flushed to the disk before the "
        "file has its name. curl from nginx: HTTPS, TLS 1.3 with a certificate made "
        "for the run; nothing but TLS verified, nothing flushed. libtorrent: a "
        "torrent of version 1 with pieces of 1 MiB over plain TCP, unlimited slots, "
        "large buffers and request queues; every piece verified, nothing flushed. "
        "Clients are fresh processes, their start is counted. The time is given "
        "twice: to the end of the program, and until the file has been flushed as "
        "well. Before each run as much memory is touched and freed as the file "
        "needs, since a host may have taken it back."
    ),
    columns=(
        Column("wall", "wall s"),
        Column("rate", "MB/s", 0, 1e-6),
        Column("flushed", "wall s, flushed"),
        Column("client_cpu", "client CPU s"),
        Column("server_cpu", "server CPU s"),
        Column("cpu", "CPU s per GiB"),
        Column("client_peak", "client peak MiB", 1, MIB),
        Column("server_peak", "server peak MiB", 1, MIB),
    ),
    ratios=tuple(
        Ratio(f"{what}, shoal : {name}{how}", key, over, under, aim)
        for name, peer, least in (
            ("curl", "curl from nginx, HTTPS", "at least 0.75"),
            ("libtorrent", "libtorrent", "at least 1.2"),
        )
        for what, how, key, over, under, aim in (
            ("speed", "", "wall", peer, "shoal", least),
            ("speed", ", both flushed", "flushed", peer, "shoal", ""),
            ("CPU seconds", "", "cpu", "shoal", peer, ""),
        )
    ),
    prepare=prepare,
)
