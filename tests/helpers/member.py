"""One member of a swarm in its own process, which reports how much it uploaded.

python -m tests.helpers.member [--limit-up N] [--chunk-size N] share PATH…
python -m tests.helpers.member [--limit-up N] [--exclude GLOB] fetch LINK OUT PEER…

It prints JSON lines: `ready` with link and port for each path once it is shared, `done`
when the download is complete, and `uploaded` with the bytes of uploaded chunks when
standard input ends. The real command has no line for the last of these.
"""

import argparse
import asyncio
import sys
from typing import Any

import msgspec

from shoal.config.settings import Settings
from shoal.core.names.address import parse_address
from shoal.node.node import Node
from shoal.swarm.share import SealedShare


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--limit-up", type=float)
    parser.add_argument("--chunk-size", type=int)
    parser.add_argument("--exclude", default=())
    parser.add_argument("what", choices=["share", "fetch"])
    parser.add_argument("words", nargs="+")
    return parser.parse_args()


def say(event: str, **fields: Any) -> None:
    """Print one line at once."""
    sys.stdout.write(msgspec.json.encode({"event": event, **fields}).decode() + "\n")
    sys.stdout.flush()


async def join(node: Node, args: argparse.Namespace) -> SealedShare:
    """Share, or fetch and then share."""
    if args.what == "share":
        for path in args.words:
            share = await node.share(path, chunk_size=args.chunk_size)
            say("ready", link=str(share.link), port=share.port)
        return share
    link, out, *_ = args.words
    fetched = await node.fetch(link, out, seed=True, timeout=60, exclude=args.exclude)
    assert fetched.share is not None
    say("done", port=fetched.share.port)
    return fetched.share


async def main() -> None:
    """Run with the arguments of the command line."""
    args = parse()
    peers = args.words[2:] if args.what == "fetch" else []
    settings = Settings(
        peers=tuple(map(parse_address, peers)),
        lan_only=True,
        no_lan=True,
        interfaces=("lo",),
        limit_up=args.limit_up,
    )
    async with Node(settings) as node:
        share = await join(node, args)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        say("uploaded", bytes=share.uploaded)


if __name__ == "__main__":
    asyncio.run(main())
