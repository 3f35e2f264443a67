"""One large file from four sources to one client."""

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.model import Ratio, Setup, Side, Workload
from benchmarks.peers import shoal, torrents
from benchmarks.transfer import COLUMNS, HOW, describe, make_job

__all__ = ["WORKLOAD"]

SIZE = 1 << 30  # bytes
SOURCES = 4
PEERS = (shoal.SEALED, torrents.LIBTORRENT, torrents.LIBTORRENT_V2, torrents.ARIA2)
ALONE = ", one source"


def prepare(setup: Setup) -> Sequence[Side]:
    """Start the servers; all data is hashed and in the page cache."""
    alone = make_job(setup, SIZE)
    job = replace(alone, sources=SOURCES)
    sides = [side for peer in PEERS for side in peer.side(job)]
    return [*sides, *shoal.SEALED.side(alone, ALONE)]


WORKLOAD = Workload(
    name="four-to-one",
    title=f"1 GiB from {SOURCES} sources to one client",
    how=(
        f"All run on one machine, so more sources do not mean more bandwidth. {HOW} "
        f"{describe(PEERS)}"
    ),
    columns=COLUMNS,
    ratios=(
        Ratio(
            "speed, shoal : shoal, one source",
            *("wall", "shoal" + ALONE, "shoal", "at least 1"),
        ),
        *(
            Ratio(
                f"speed, shoal : {peer.name}",
                *("wall", peer.name, "shoal", "at least 1"),
            )
            for peer in PEERS[1:]
        ),
    ),
    prepare=prepare,
)
