"""A share of 1 TiB that needs no hashing, and a node that serves it.

Its manifest consists of invented hashes and those of a few real chunks. Run as
`python -m tests.helpers.huge FILE`, it makes a sparse FILE with the real chunks, prints
`ready LINK PORT`, serves until standard input ends and then prints `peak KIB`, its peak
memory.
"""

import asyncio
import random
import sys
from pathlib import Path

from shoal.core.crypto.hashes import DIGEST_SIZE, chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.resources import Resources
from shoal.storage.shared.shared_files import SharedFiles
from shoal.swarm.member import Member, Registry
from shoal.transport.sealed.port import Port
from tests.helpers.fetching import here

__all__ = ["CHUNKS", "TRUE", "make_manifest", "true_chunk"]

CHUNKS = Chunks(1 << 40, 4 << 20)
TRUE = (0, 100_000, CHUNKS.count - 1)
"""The real chunks, which match their hashes."""


def true_chunk(index: int) -> bytes:
    """Return the bytes of a real chunk."""
    return random.Random(index).randbytes(CHUNKS.length(index))


def make_manifest() -> Manifest:
    """Return the manifest of the share of 1 TiB."""
    digests = bytearray(random.Random(9).randbytes(DIGEST_SIZE * CHUNKS.count))
    for index in TRUE:
        place = DIGEST_SIZE * index
        digests[place : place + DIGEST_SIZE] = chunk_digest(true_chunk(index))
    size, chunk_size = CHUNKS.size, CHUNKS.chunk_size
    return build_manifest("huge", size, chunk_size, bytes(digests), salt=bytes(16))


def make_file(path: Path) -> None:
    """Make a sparse file of 1 TiB with the real chunks."""
    with path.open("wb") as file:
        file.truncate(CHUNKS.size)
        for index in TRUE:
            file.seek(CHUNKS.offset(index))
            file.write(true_chunk(index))


async def main(path: Path) -> None:
    """Run with the arguments of the command line."""
    make_file(path)
    resources = Resources(here())
    manifest = make_manifest()
    source = SharedFiles.open_file(path, CHUNKS.chunk_size, disk=resources.disk)
    source.verify = manifest.hash_table.verifies
    port = Port(resources.networks.hosts(), 0)
    async with Member(Registry(resources), Link(manifest.id), port) as member:
        member.swarm.serve(manifest, source)
        say(f"ready {member.link} {port.port}")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await port.aclose()
    await resources.aclose()
    say(f"peak {peak_memory()}")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def peak_memory() -> int:
    """Return the peak memory of this program in KiB.

    getrusage is unsuitable: it includes the process before its exec, a test runner of
    any size.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
