"""Serve a share as misbehaving holders, each at its own port.

python -m tests.adversary.holders --link LINK --peer HOST:PORT [--file PATH] KIND…
python -m tests.adversary.holders --list

The fetching command needs their addresses as `--peer`. They learn the share from the
node at `--peer` and the correct bytes from `--file`; without a file they have zeros.
Prints a line `KIND HOST:PORT` for each, then `ready`, and ends when standard input
ends.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address, parse_address
from shoal.core.names.link import Link, parse_link
from shoal.node.node import Node
from tests.helpers.badholders import IDLE, LIARS, MANIFEST_LIARS, RUDE
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, Holding, holding_of

__all__ = ["KINDS", "learn"]

KINDS: dict[str, type[Holder]] = {
    kind.__name__: kind for kind in (*LIARS, *IDLE, *MANIFEST_LIARS, *RUDE)
}
"""All kinds of misbehaving holders, by name."""


async def learn(link: Link, address: Address, path: Path | None = None) -> Holding:
    """Return the share of a link, with the bytes of the file at `path` if given."""
    async with Node(here([address])) as node:
        manifest = await node.manifest(link, timeout=10, with_files=False)
    if path is None:
        length = manifest.chunks.length
        # The pages contain wrong hashes, but their number is right.
        pages = {key: bytes(65_536) for key in manifest.keys()}
        return Holding(
            link,
            manifest.root_record,
            pages,
            manifest.chunks,
            lambda i: bytes(length(i)),
        )
    return holding_of(*_read(manifest, path))


def _read(manifest: Manifest, path: Path) -> tuple[Manifest, Callable[[int], bytes]]:
    """Return the complete manifest of a file and a function that reads its chunks."""
    chunks, root = manifest.chunks, manifest.root
    file = path.open("rb")

    def chunk(index: int) -> bytes:
        file.seek(chunks.offset(index))
        return file.read(chunks.length(index))

    digests = b"".join(chunk_digest(chunk(i)) for i in range(chunks.count))
    whole = build_manifest(
        root.name, root.size, root.chunk_size, digests, salt=root.salt
    )
    assert whole.id == manifest.id, f"{path} does not match the link"
    return whole, chunk


async def serve(holding: Holding, kinds: list[str]) -> None:
    """Serve the kinds of holders until standard input ends."""
    async with AsyncExitStack() as stack:
        for kind in kinds:
            holder = await stack.enter_async_context(KINDS[kind](holding))
            sys.stdout.write(f"{kind} {holder.address}\n")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def main() -> None:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="holders", allow_abbrev=False)
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], metavar="KIND")
    parser.add_argument("--link")
    parser.add_argument("--peer")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list or not (args.kinds and args.link and args.peer):
        sys.stdout.write("\n".join(sorted(KINDS)) + "\n")
        return
    link, address = parse_link(args.link), parse_address(args.peer)
    await serve(await learn(link, address, args.file), args.kinds)


if __name__ == "__main__":
    asyncio.run(main())
