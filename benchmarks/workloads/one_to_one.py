"""One large file from one source to the disk of one client, encrypted."""

from collections.abc import Sequence

from benchmarks.model import Ratio, Setup, Side, Workload
from benchmarks.peers import nginx, rsync, shoal, torrents, wormhole
from benchmarks.transfer import COLUMNS, HOW, describe, make_job

__all__ = ["WORKLOAD"]

SIZE = 1 << 30  # bytes
PEERS = (
    shoal.SEALED,
    nginx.CURL_TLS,
    nginx.ARIA2_TLS,
    torrents.LIBTORRENT,
    torrents.LIBTORRENT_V2,
    torrents.ARIA2,
    torrents.WEBTORRENT,
    rsync.DAEMON,
    wormhole.PEER,
)
CURL = nginx.CURL_TLS.name


def prepare(setup: Setup) -> Sequence[Side]:
    """Start the servers; all data is hashed and in the page cache."""
    job = make_job(setup, SIZE)
    return [side for peer in PEERS for side in peer.side(job)]


def _ratios(name: str, peer: str, speed: str = "", cpu: str = "") -> list[Ratio]:
    return [
        Ratio(f"speed, shoal : {name}", "wall", peer, "shoal", speed),
        Ratio(f"speed, shoal : {name}, both flushed", "flushed", peer, "shoal"),
        Ratio(f"CPU seconds, shoal : {name}", "cpu", "shoal", peer, cpu),
    ]


WORKLOAD = Workload(
    name="one-to-one",
    title="1 GiB from one source to one client, encrypted",
    how=f"{HOW} {describe(PEERS)}",
    columns=COLUMNS,
    ratios=(
        *_ratios("curl", CURL, "at least 1.4"),
        *_ratios("libtorrent", "libtorrent", "at least 1.9", "at most 1"),
        *_ratios("magic-wormhole", "magic-wormhole", "at least 3"),
        Ratio("speed, shoal : libtorrent v2", "wall", "libtorrent v2", "shoal"),
        Ratio("speed, shoal : aria2 -x4", "wall", nginx.ARIA2_TLS.name, "shoal"),
        Ratio(
            "speed, shoal : aria2 by BitTorrent", "wall", "aria2 by BitTorrent", "shoal"
        ),
        Ratio("speed, shoal : webtorrent", "wall", "webtorrent", "shoal"),
        Ratio("speed, shoal : rsync daemon", "wall", "rsync daemon", "shoal"),
    ),
    prepare=prepare,
)
