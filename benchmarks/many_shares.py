"""Measure a node with very many shares, without a peer.

Run `python -m benchmarks.many_shares [--shares N] --folder PATH`, with a new folder on
a file system in memory such as /dev/shm. One process shares N files of 64 KiB; another
serves them again from the catalogue, as `shoal seed` does. Both print the time, the
processor time, the memory and the open descriptors after each tenth of the shares, and
the processor time that they use per second while nothing happens.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import shoal
from shoal.config.settings import Settings
from shoal.storage.catalogue import Catalogue
from shoal.storage.disk.disk import Disk
from shoal.storage.home import user_home

__all__ = ["main"]

SHARES = 10_000
SIZE = 65_536  # bytes of each file
IDLE = 10.0  # seconds


def resident() -> int:
    """Return the memory of this process in MiB; its parent's does not count."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


async def serve(
    node: shoal.Node, works: list[Callable[[], Awaitable[object]]], title: str
) -> None:
    """Begin these shares one after another; print what they need."""
    print(f"{title:>12}  start, s  processor, s  memory, MiB  descriptors")
    begin, processor = time.perf_counter(), time.process_time()
    for number, work in enumerate(works, 1):
        await work()
        if number % max(1, len(works) // 10) == 0:
            memory = resident()
            descriptors = len(os.listdir("/proc/self/fd"))
            print(
                f"{number:>12,}  {time.perf_counter() - begin:>8.1f}"
                f"  {time.process_time() - processor:>12.1f}"
                f"  {memory:>11}  {descriptors:>11}"
            )
    processor = time.process_time()
    await asyncio.sleep(IDLE)
    used = (time.process_time() - processor) / IDLE
    print(f"{'idle':>12}  {used:.3f} s of processor time per second")


async def run(folder: Path, count: int, *, is_seed: bool) -> None:
    """Share new files, or serve again those of the catalogue."""
    settings = Settings(lan_only=True, no_lan=True, interfaces=("lo",))
    async with shoal.Node(settings) as node:
        if is_seed:
            entries = Catalogue.of_home(user_home(), Disk()).entries()
            await serve(node, [partial(node.seed, e) for e in entries], "seeded")
            return
        paths = [folder / str(number) for number in range(count)]
        for path in paths:
            path.write_bytes(os.urandom(SIZE))
        await serve(node, [partial(node.share, p) for p in paths], "shared")


def main() -> None:
    """Measure with the arguments of the command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--shares", type=int, default=SHARES)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.seed:
        args.folder.mkdir()
        os.environ["XDG_DATA_HOME"] = str(args.folder / "home")
    asyncio.run(run(args.folder, args.shares, is_seed=args.seed))
    if not args.seed:
        words = ["--seed", "--folder", str(args.folder)]
        command = [sys.executable, "-m", "benchmarks.many_shares", *words]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
