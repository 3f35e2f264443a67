"""Reads through fsspec, beside fsspec's own HTTP file system: the cost of each call."""

import json
from collections.abc import Sequence
from functools import partial

from tests.helpers.datasets import write_parquet
from tests.helpers.netns import Namespace

from benchmarks.measure import run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import missing_programs, own_argv
from benchmarks.peers.nginx import Nginx
from benchmarks.peers.shoal import SealedShare

__all__ = ["WORKLOAD"]

ROWS = 400_000  # of 160 bytes
LINES = 2_000_000
SHOAL, HTTP, LOCAL = "shoal", "fsspec http from nginx", "io.BufferedReader in memory"


def prepare(setup: Setup) -> Sequence[Side]:
    """Write the files, share them and serve them."""
    namespace = setup.stack.enter_context(Namespace())
    top = setup.scratch / "files"
    top.mkdir()
    table, lines = top / "table.parquet", top / "lines.txt"
    write_parquet(table, ROWS, ROWS // 20)
    with lines.open("w") as file:
        file.writelines(f"{i * 7919 % 1_000_003} {i}\n" for i in range(LINES))
    sides = [Side(LOCAL, partial(_run, namespace, [str(lines)]))]
    if setup.wants(SHOAL):
        share = SealedShare.start(setup.stack, namespace, top, setup.scratch / "home")
        peer = f"127.0.0.1:{share.port}"
        options = {"peers": peer, "lan_only": True, "no_lan": True}
        url = f"shoal://{share.link.removeprefix('shoal:').partition('?')[0]}"
        sides.append(Side(SHOAL, partial(_run, namespace, _urls(options, url))))
    if setup.admits(HTTP, lambda: missing_programs("nginx")):
        folder = setup.scratch / "nginx"
        folder.mkdir()
        nginx = Nginx.start(setup.stack, namespace, top, folder, 8080)
        argv = _urls({}, nginx.address)
        sides.append(Side(HTTP, partial(_run, namespace, argv)))
    return sides


def _urls(options: dict[str, object], top: str) -> list[str]:
    return [json.dumps(options), f"{top}/table.parquet", f"{top}/lines.txt"]


def _run(namespace: Namespace, arguments: list[str]) -> Sample:
    argv = own_argv("fsspec_client", *arguments)
    return run_client(argv, namespace=namespace).figures


def _against_http(what: str, figure: str) -> Ratio:
    return Ratio(f"{what}, shoal : http", figure, SHOAL, HTTP, "at most 1")


WORKLOAD = Workload(
    name="fsspec-reads",
    title="Reads through fsspec, beside its HTTP file system",
    how=(
        "A program opens a Parquet file of 61 MiB and a text file through fsspec, with "
        "the defaults of both file systems. It reads one column of 20 with pyarrow, "
        "100 bytes at random offsets of a block that was read before, all in blocks of "
        "64 KiB, opens a file, reads 100 bytes and closes it, and reads lines for the "
        "second time (of HTTP, 200 lines only: it reads a block for each). Fetched is "
        "all that loopback carries for the column, in bytes that pyarrow reads. The "
        "files are served on loopback: by nginx without encryption, by shoal encrypted "
        "and verified."
    ),
    columns=(
        Column("column", "column ms", 1, 1e3),
        Column("fetched", "fetched : read", 2),
        Column("warm", "warm us", 2, 1e6),
        Column("sequential", "64 KiB us", 0, 1e6),
        Column("open", "open us", 0, 1e6),
        Column("lines", "line ns", 0, 1e9),
    ),
    ratios=(
        _against_http("one Parquet column", "column"),
        _against_http("fetched for one column", "fetched"),
        _against_http("a warm read of 100 bytes", "warm"),
        _against_http("64 KiB in sequence", "sequential"),
        _against_http("open, read and close", "open"),
        Ratio("lines, shoal : memory", "lines", SHOAL, LOCAL, "at most 1"),
    ),
    prepare=prepare,
)
