"""Reads at random offsets in a large share: the cost of a seek with a known peer."""

from collections.abc import Sequence
from functools import partial

from tests.helpers.netns import Namespace

from benchmarks.files import make_file
from benchmarks.measure import MemoryWatch, cpu_seconds, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import own_argv, start
from benchmarks.peers.shoal import SealedShare

__all__ = ["WORKLOAD"]

SIZE = 10 << 30  # bytes
READ = 64 * 1024  # bytes
COUNT = 200  # reads in one run
ECHOES = 2_000  # exchanges in one run
ECHO = "raw TCP echo"
LARGE = "shoal, chunks of 4 MiB"
CHUNK_SIZES = {"shoal": ("--chunk-size", "64K"), LARGE: ()}
"""Options of a share by the name of its side; without options, the defaults apply."""


def prepare(setup: Setup) -> Sequence[Side]:
    """Write the file and start the servers; all of it is in the page cache."""
    namespace = setup.stack.enter_context(Namespace())
    file = setup.scratch / "source"
    make_file(file, SIZE)
    home = setup.scratch / "home"
    sides = []
    for name, options in CHUNK_SIZES.items():
        if setup.wants(name):
            place = (setup.stack, namespace, file, home)
            share = SealedShare.start(*place, *options)
            peer = f"127.0.0.1:{share.port}"
            argv = own_argv("read_client", share.link, peer, READ, COUNT, file)
            sides.append(Side(name, partial(_run, namespace, argv, share.pid)))
    echo = start(setup.stack, namespace, own_argv("echo", "serve"))
    port = int(echo.wait_line(r"^listening (\d+)$", stream="out")[1])
    argv = own_argv("echo", "ask", port, READ, ECHOES)
    return [*sides, Side(ECHO, partial(_run, namespace, argv, echo.pid))]


def _run(namespace: Namespace, argv: list[str], server: int) -> Sample:
    before = cpu_seconds(server)
    with MemoryWatch(server) as memory:
        outcome = run_client(argv, namespace=namespace)
    return {
        **outcome.figures,
        "client_cpu": outcome.cpu,
        "server_cpu": cpu_seconds(server) - before,
        "client_peak": outcome.memory.peak,
        "server_peak": memory.peak,
    }


WORKLOAD = Workload(
    name="random-reads",
    title=f"Random reads of {READ >> 10} KiB in a share of {SIZE >> 30} GiB",
    how=(
        f"One process opens the share and reads {COUNT} times in sequence, each time "
        "at another random multiple of the read size; the first few reads are not "
        "counted. shoal verifies every byte, and the benchmark compares all bytes "
        "afterwards. With chunks of 64 KiB, a read is one chunk; of the chunks that "
        "a share of this size has by default, it is one block, which comes with the "
        "hashes of all blocks of the chunk. All received bytes are counted, with "
        "messages and hashes. For comparison, a plain TCP echo in Python: "
        f"{READ >> 10} KiB in each direction over one connection, without encryption "
        "or verification."
    ),
    columns=(
        Column("p50", "p50 us", 0, 1e6),
        Column("p99", "p99 us", 0, 1e6),
        Column("more", "received : read"),
        Column("client_cpu", "client CPU s"),
        Column("server_cpu", "server CPU s"),
        Column("client_peak", "client peak MiB", 1, 2**-20),
        Column("server_peak", "server peak MiB", 1, 2**-20),
    ),
    ratios=(
        Ratio("p50, shoal : echo", "p50", "shoal", ECHO, "at most 2.5"),
        Ratio(
            "p50, shoal with chunks of 4 MiB : echo", "p50", LARGE, ECHO, "at most 4"
        ),
        Ratio("received : read, chunks of 4 MiB", "more", LARGE, goal="at most 1.1"),
    ),
    prepare=prepare,
)
