"""Count what one received chunk of a sealed share costs on the event loop.

Run as `python -m benchmarks.chunk_path [--chunk-size BYTES]… [--all]`. A node in
this process fetches a file from `shoal share` over loopback while `sys.setprofile`
counts the calls of Python functions on the thread of the loop. It fetches a short and
a long file; the figures are those of the chunks by which the second is longer, so the
start and the end do not count. A chunk meets an object if the methods of the object
are called at least once for every two chunks. With `--all` the list includes calls
of functions outside shoal. The figures are reported; no test asserts them.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from tests.helpers.sharing import LOOPBACK

import shoal

FEW, MANY = 64, 256  # chunks of the two files
SIZES = (64 << 10, 1 << 20)  # bytes of a chunk
OFTEN = 0.5  # calls for each chunk, of an object that a chunk meets
SHOWN = 0.05  # calls for each chunk, below which a function is not listed
SHOAL = str(Path(shoal.__file__).parent)


@dataclass
class Counts:
    """The calls of one fetch, and the objects whose methods were called."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the class or module of a function, and its name."""
    outside: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The calls of functions that are not shoal's."""
    objects: dict[int, tuple[object, int]] = field(default_factory=dict)
    """Each object with its number of calls; the reference keeps its id unique."""

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        """Count a call; a function for `sys.setprofile`."""
        if event != "call":
            return
        code = frame.f_code
        owner = (
            frame.f_locals.get("self") if code.co_varnames[:1] == ("self",) else None
        )
        where = (
            type(owner).__name__ if owner is not None else frame.f_globals["__name__"]
        )
        key = (where, code.co_name)
        if not code.co_filename.startswith(SHOAL):
            self.outside[key] += 1
            return
        self.calls[key] += 1
        if owner is not None:
            _, count = self.objects.get(id(owner), (owner, 0))
            self.objects[id(owner)] = (owner, count + 1)

    def met(self, chunks: int) -> Counter[str]:
        """Return how many objects of each class a chunk meets."""
        kept: Counter[str] = Counter()
        brief: Counter[str] = Counter()
        for owner, count in self.objects.values():
            group = kept if count >= OFTEN * chunks else brief
            group[type(owner).__name__] += 1
        made = {name: round(n / chunks) for name, n in brief.items()}
        return +(kept + Counter(made))


@contextmanager
def serve(source: Path, chunk_size: int) -> Iterator[dict[str, Any]]:
    """Share a file in another process; yield its start event."""
    options = ("--chunk-size", str(chunk_size), "--lan-only", "--no-lan", "--json")
    argv = [sys.executable, "-m", "shoal", "share", str(source), *options]
    home = str(source.parent)
    env = {**os.environ, "XDG_DATA_HOME": home, "SHOAL_INTERFACES": "lo"}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) as server:
        try:
            assert server.stdout is not None
            event: dict[str, Any] = {}
            while event.get("event") != "start":
                event = json.loads(server.stdout.readline())
            yield event
        finally:
            server.kill()


async def fetch(chunk_size: int, chunks: int, folder: Path) -> Counts:
    """Share a file of so many chunks and fetch it; return the counts of the fetch."""
    source = folder / f"{chunks}"
    with source.open("wb") as file:
        for _ in range(chunks):
            file.write(os.urandom(chunk_size))
    counts = Counts()
    with serve(source, chunk_size) as start:
        peer = f"127.0.0.1:{start['port']}"
        async with shoal.Node(peers=peer, **LOOPBACK) as node:
            sys.setprofile(counts.note)
            try:
                await node.fetch(start["link"], folder / f"{chunks}.out")
            finally:
                sys.setprofile(None)
    return counts


def report(few: Counts, many: Counts, *, is_complete: bool) -> Iterator[str]:
    """Yield the lines with both figures and with all that they are made of."""
    chunks = MANY - FEW
    ours, others = many.calls - few.calls, many.outside - few.outside
    met = many.met(MANY)
    yield f"objects met by a received chunk: {met.total()}"
    yield f"calls on the loop for it: {ours.total() / chunks:.1f} of shoal's functions"
    yield f"  (and {others.total() / chunks:.1f} of other functions)"
    for name, count in met.most_common():
        yield f"{count:8}  {name}"
    yield "calls for each chunk:"
    listed = ours + others if is_complete else ours
    for (where, name), count in listed.most_common():
        if count / chunks >= SHOWN:
            yield f"{count / chunks:8.2f}  {where}.{name}"


async def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--chunk-size", type=int, action="append")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    for chunk_size in options.chunk_size or SIZES:
        with TemporaryDirectory(prefix="shoal-chunk-path-") as folder:
            few = await fetch(chunk_size, FEW, Path(folder))
            many = await fetch(chunk_size, MANY, Path(folder))
        lines = report(few, many, is_complete=options.all)
        head = f"chunks of {chunk_size >> 10} KiB"
        sys.stdout.write("\n".join([head, *lines, "", ""]))


if __name__ == "__main__":
    asyncio.run(main())
