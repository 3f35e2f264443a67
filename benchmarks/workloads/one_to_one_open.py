"""One large file from one source to one client, over an open channel."""

from collections.abc import Sequence

from benchmarks.model import Column, Ratio, Setup, Side, Workload
from benchmarks.peers import nginx, rsync, shoal, workshop
from benchmarks.transfer import COLUMNS, HOW, describe, make_job

__all__ = ["WORKLOAD"]

SIZE = 1 << 30  # bytes
MIB = 2**-20
PEERS = (shoal.OPEN, nginx.CURL, nginx.ARIA2, rsync.DAEMON, workshop.PAIR)
CURL = nginx.CURL.name


def prepare(setup: Setup) -> Sequence[Side]:
    """Start the servers; all data is hashed and in the page cache."""
    job = make_job(setup, SIZE)
    return [side for peer in PEERS for side in peer.side(job)]


WORKLOAD = Workload(
    name="one-to-one-open",
    title="1 GiB from one source to one client, unencrypted",
    how=(
        f"{HOW} {describe(PEERS)} Drift is the range of the memory samples after the "
        "first quarter of the run."
    ),
    columns=(
        *COLUMNS,
        Column("client_drift", "client drift MiB", 1, MIB),
        Column("server_drift", "sources drift MiB", 1, MIB),
    ),
    ratios=(
        Ratio("speed, shoal : curl", "wall", CURL, "shoal", "at least 0.95"),
        Ratio("speed, shoal : curl, both flushed", "flushed", CURL, "shoal"),
        Ratio("speed, shoal : aria2 -x4", "wall", nginx.ARIA2.name, "shoal"),
        Ratio("speed, shoal : rsync daemon", "wall", "rsync daemon", "shoal"),
        Ratio("speed, shoal : node", "wall", "node", "shoal"),
    ),
    prepare=prepare,
)
