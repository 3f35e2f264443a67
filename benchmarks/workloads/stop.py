"""The time from Ctrl-C to the end of a command, which first flushes its chunks."""

import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from tests.helpers.netns import Namespace

from benchmarks.files import make_file
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import start
from benchmarks.peers.shoal import SealedShare, shoal_argv

__all__ = ["WORKLOAD"]

SIZE = 64 << 20  # bytes, sent so slowly that no run receives them all
HASHED = 8 << 30  # bytes of holes, which take longer to hash than a run lasts
RATE = "2M"  # bytes per second
HELD = 1.0  # seconds from the first line of output to the signal
INTERRUPTED = 130  # exit code


def prepare(setup: Setup) -> Sequence[Side]:
    """Start the source; each run starts the command that is interrupted."""
    namespace = setup.stack.enter_context(Namespace())
    file, holes = setup.scratch / "source", setup.scratch / "holes"
    make_file(file, SIZE)
    with holes.open("wb") as sparse:
        sparse.truncate(HASHED)
    place = (setup.stack, namespace, file, setup.scratch / "home")
    share = SealedShare.start(*place, "--limit-up", RATE)
    target = setup.scratch / "target"
    # Each run resumes the download that the run before left.
    get = share.get_argv("127.0.0.1", target, "--json")
    hashing = shoal_argv("share", holes, "--new-link", "--lan-only", "--json")
    return [
        Side("shoal get", partial(_run, namespace, get)),
        Side("shoal share", partial(_run, namespace, hashing)),
    ]


def _run(namespace: Namespace, argv: Sequence[str]) -> Sample:
    with ExitStack() as stack:
        program = start(stack, namespace, argv)
        program.wait_line('"progress"', stream="out")
        time.sleep(HELD)
        begin = time.perf_counter()
        program.send(signal.SIGINT)
        ended = program.finish()
        wall = time.perf_counter() - begin
    assert ended.code == INTERRUPTED, f"it ended with {ended.code}: {ended.stderr}"
    return {"wall": wall}


WORKLOAD = Workload(
    name="stop",
    title="From Ctrl-C to the end of a command",
    how=(
        "`get` is interrupted while it downloads, `share` while it hashes. Chunks that "
        "`get` has verified are on the disk when it ends."
    ),
    columns=(Column("wall", "ms", 0, 1e3),),
    ratios=(Ratio("shoal get, seconds", "wall", "shoal get", goal="at most 2"),),
    prepare=prepare,
)
